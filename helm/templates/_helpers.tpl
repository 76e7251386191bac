{{- /* Names are cut to 50 characters: the longest suffix is "-migrate", and a Job's name becomes a label (63 at most). */}}
{{- define "darkserver.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "darkserver.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "darkserver.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "darkserver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The gateway's selector. "component" keeps the Job's pods out of the Service. */}}
{{- define "darkserver.selectorLabels" -}}
app.kubernetes.io/name: {{ include "darkserver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "darkserver.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "darkserver.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "darkserver.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "darkserver.publicUrl" -}}
{{- if .Values.gateway.publicUrl }}
{{- .Values.gateway.publicUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts }}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) (first .Values.ingress.hosts) }}
{{- end }}
{{- end }}

{{- /* The name in Via: the same for all replicas. Gateways of other installations can ask this one, so it differs. */}}
{{- define "darkserver.instance" -}}
{{- $id := printf "%s/%s/%s" .Release.Namespace (include "darkserver.fullname" .) (include "darkserver.publicUrl" .) }}
{{- printf "darkserver-%s" (sha256sum $id | trunc 8) }}
{{- end }}

{{- /* gateway.toml. A JSON string or list of strings is also a TOML one. Top-level keys stand before the first table. */}}
{{- define "darkserver.config" -}}
{{- if not .Values.gateway.upstreams }}
# None, whatever DEBUGINFOD_URLS is.
upstream = []
{{- end }}
trusted_proxies = {{ toRawJson .Values.gateway.trustedProxies }}
{{- if .Values.gateway.tls.secretName }}

[tls]
certificate = "/etc/darkserver-tls/tls.crt"
key = "/etc/darkserver-tls/tls.key"
{{- end }}

[cors]
origins = {{ toRawJson .Values.gateway.cors.origins }}

[connections]
head_timeout = {{ toRawJson .Values.gateway.connections.headTimeout }}
idle_timeout = {{ toRawJson .Values.gateway.connections.idleTimeout }}

[request]
budget = {{ toRawJson .Values.gateway.request.budget }}
max_concurrent = {{ int64 .Values.gateway.request.maxConcurrent }}

[extraction]
max_concurrent = {{ int64 .Values.gateway.extraction.maxConcurrent }}
abandoned = {{ toRawJson .Values.gateway.extraction.abandoned }}

[prefetch]
max_bytes = {{ toRawJson .Values.gateway.prefetch.maxBytes }}
timeout = {{ toRawJson .Values.gateway.prefetch.timeout }}

[claims]
max_bytes = {{ toRawJson .Values.gateway.claims.maxBytes }}

[index]
found_ttl = {{ toRawJson .Values.gateway.index.foundTtl }}
absent_ttl = {{ toRawJson .Values.gateway.index.absentTtl }}
stale_ttl = {{ toRawJson .Values.gateway.index.staleTtl }}
max_entries = {{ int64 .Values.gateway.index.maxEntries }}
filter = {{ .Values.gateway.index.filter }}

[federation]
absent = {{ toRawJson .Values.gateway.federation.absent }}
unavailable = {{ toString .Values.gateway.federation.unavailable | toRawJson }}
prefer = {{ toRawJson .Values.gateway.federation.prefer }}
{{- with .Values.gateway.federation.contact }}
contact = {{ toRawJson . }}
{{- end }}
max_hops = {{ int64 .Values.gateway.federation.maxHops }}
unreachable_after = {{ toRawJson .Values.gateway.federation.unreachableAfter }}
warm_timeout = {{ toRawJson .Values.gateway.federation.warmTimeout }}
max_warm = {{ int64 .Values.gateway.federation.maxWarm }}
forward_client = {{ .Values.gateway.federation.forwardClient }}
instance = {{ .Values.gateway.federation.instance | default (include "darkserver.instance" .) | toRawJson }}
trace = {{ .Values.gateway.federation.trace }}

[relay]
max_source = {{ toRawJson .Values.gateway.relay.maxSource }}
max_concurrent = {{ int64 .Values.gateway.relay.maxConcurrent }}

[metadata]
budget = {{ toRawJson .Values.gateway.metadata.budget }}
max_results = {{ int64 .Values.gateway.metadata.maxResults }}
{{ range $number, $upstream := .Values.gateway.upstreams }}
[[upstream]]
name = {{ toRawJson .name }}
url = {{ toRawJson .url }}
{{- /* Keys that are not given keep the gateway's own defaults. */}}
{{- range $key, $name := dict "mode" "mode" "deadline" "deadline" "serves" "serves" "buildIds" "build_ids" "absentTtl" "absent_ttl" "lateAbsentTtl" "late_absent_ttl" "redirectHosts" "redirect_hosts" }}
{{- if hasKey $upstream $key }}
{{ $name }} = {{ get $upstream $key | toRawJson }}
{{- end }}
{{- end }}
{{- range $key, $name := dict "priority" "priority" "maxConcurrent" "max_concurrent" }}
{{- if hasKey $upstream $key }}
{{ $name }} = {{ get $upstream $key | int64 }}
{{- end }}
{{- end }}
{{- range $key, $name := dict "enabled" "enabled" "allowPrivate" "allow_private" }}
{{- if hasKey $upstream $key }}
{{ $name }} = {{ get $upstream $key }}
{{- end }}
{{- end }}
{{- with .absentStatuses }}
absent_statuses = [{{ range $at, $status := . }}{{ if $at }}, {{ end }}{{ int64 $status }}{{ end }}]
{{- end }}
{{- with .headers }}
{{- $headers := list }}
{{- range $at, $header := . }}
{{- $headers = printf "%s = { env = \"UPSTREAM_HEADER_%d_%d\" }" (toRawJson .name) $number $at | append $headers }}
{{- end }}
headers = { {{ join ", " $headers }} }
{{- end }}
{{- with .tls }}
{{- $files := list }}
{{- range $key, $path := . }}
{{- $files = printf "%s = %s" $key (toRawJson $path) | append $files }}
{{- end }}
tls = { {{ join ", " $files }} }
{{- end }}
{{ end }}
{{- end }}

{{- /* A CronJob's name has at most 52 characters. */}}
{{- define "darkserver.indexerName" -}}
{{- printf "%s-indexer" (include "darkserver.fullname" . | trunc 44 | trimSuffix "-") }}
{{- end }}

{{- /* indexer.toml. Keys that are not given keep the indexer's own defaults. */}}
{{- define "darkserver.indexerConfig" -}}
{{- with .Values.indexer.contact }}
contact = {{ toRawJson . }}
{{- end }}
requests_per_host = {{ int64 .Values.indexer.requestsPerHost }}

[check]
budget = {{ toRawJson .Values.indexer.check.budget }}
{{ range .Values.indexer.stores }}
[[store]]
{{- $store := . }}
{{- range $key, $name := dict "name" "name" "tier" "tier" "url" "url" "path" "path" "pattern" "pattern" "redirectHosts" "redirect_hosts" "distros" "distros" }}
{{- if hasKey $store $key }}
{{ $name }} = {{ get $store $key | toRawJson }}
{{- end }}
{{- end }}
{{- if hasKey . "priority" }}
priority = {{ int64 .priority }}
{{- end }}
{{- if hasKey . "allowPrivate" }}
allow_private = {{ .allowPrivate }}
{{- end }}
{{- with .absentStatuses }}
absent_statuses = [{{ range $at, $status := . }}{{ if $at }}, {{ end }}{{ int64 $status }}{{ end }}]
{{- end }}
{{ end }}
{{- range .Values.indexer.repositories }}
[[repository]]
{{- $repository := . }}
{{- range $key := list "name" "store" "path" "url" "format" "distro" "keys" "payload" }}
{{- if hasKey $repository $key }}
{{ $key }} = {{ get $repository $key | toRawJson }}
{{- end }}
{{- end }}
{{- if hasKey . "metadataOnly" }}
metadata_only = {{ .metadataOnly }}
{{- end }}
{{ end }}
{{- range .Values.indexer.koji }}
[[koji]]
{{- $koji := . }}
{{- range $key, $name := dict "name" "name" "hub" "hub" "topurl" "topurl" "store" "store" "headers" "headers" "skipArchs" "skip_archs" "distros" "distros" "reconcileInterval" "reconcile_interval" "overlap" "overlap" "sweepInterval" "sweep_interval" "since" "since" }}
{{- if hasKey $koji $key }}
{{ $name }} = {{ get $koji $key | toRawJson }}
{{- end }}
{{- end }}
{{ end }}
{{- if eq .Values.indexer.mode "listen" }}
{{- range .Values.indexer.messages }}
[[messages]]
{{- $queue := . }}
{{- range $key, $name := dict "name" "name" "url" "url" "queue" "queue" "exchange" "exchange" "topicPrefix" "topic_prefix" "koji" "koji" }}
{{- if hasKey $queue $key }}
{{ $name }} = {{ get $queue $key | toRawJson }}
{{- end }}
{{- end }}
{{- range $key, $name := dict "passive" "passive" "durable" "durable" "autoDelete" "auto_delete" "exclusive" "exclusive" }}
{{- if hasKey $queue $key }}
{{ $name }} = {{ get $queue $key }}
{{- end }}
{{- end }}
{{- if hasKey . "prefetch" }}
prefetch = {{ int64 .prefetch }}
{{- end }}
{{- if .certificateSecret }}
{{- $directory := printf "/etc/darkserver-messages/%s" .name }}
ca_file = {{ printf "%s/ca.crt" $directory | toRawJson }}
cert_file = {{ printf "%s/tls.crt" $directory | toRawJson }}
key_file = {{ printf "%s/tls.key" $directory | toRawJson }}
{{- end }}
{{ end }}
[service]
refresh_interval = {{ toRawJson .Values.indexer.listen.refreshInterval }}

[hooks]
{{- if .Values.indexer.hooks.tokenSecret }}
token_file = "/etc/darkserver-hooks/token"
{{- end }}
max_body = {{ toRawJson .Values.indexer.hooks.maxBody }}
rate = {{ int64 .Values.indexer.hooks.rate }}
burst = {{ int64 .Values.indexer.hooks.burst }}
upload_stores = {{ toRawJson .Values.indexer.hooks.uploadStores }}
max_upload = {{ toRawJson .Values.indexer.hooks.maxUpload }}
min_free = {{ toRawJson .Values.indexer.hooks.minFree }}
{{- end }}
{{- end }}

{{- /* The indexer's selector in the mode `listen`. */}}
{{- define "darkserver.indexerSelectorLabels" -}}
app.kubernetes.io/name: {{ include "darkserver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: indexer
{{- end }}

{{- /* A checksum of indexer.toml without user names, passwords and queries of URLs: more people may read a Deployment
       than a Secret, and a hash lets them try passwords. */}}
{{- define "darkserver.indexerChecksum" -}}
{{- $text := include "darkserver.indexerConfig" . }}
{{- $text = regexReplaceAll "://[^/\"]*@" $text "://" }}
{{- $text = regexReplaceAll "\\?[^\"]*\"" $text "\"" }}
{{- $text | sha256sum }}
{{- end }}

{{- /* "10Gi" as a number of MiB. */}}
{{- define "darkserver.mebibytes" -}}
{{- if hasSuffix "Ti" . }}{{ mul (trimSuffix "Ti" . | int64) 1048576 }}
{{- else if hasSuffix "Gi" . }}{{ mul (trimSuffix "Gi" . | int64) 1024 }}
{{- else }}{{ trimSuffix "Mi" . | int64 }}
{{- end }}
{{- end }}

{{- define "darkserver.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.security.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "darkserver.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{- /* Rules that span several values, which a schema cannot express. */}}
{{- define "darkserver.validate" -}}
{{- $db := .Values.database }}
{{- if $db.existingSecret }}
{{- if or $db.readerUrl $db.writerUrl }}
{{- fail "database.existingSecret and database.readerUrl/writerUrl exclude each other: set one of them" }}
{{- end }}
{{- else }}
{{- if not $db.readerUrl }}
{{- fail "database.readerUrl is missing: set mysql://USER:PASSWORD@HOST:3306/DATABASE of a user with SELECT, or name a Secret in database.existingSecret" }}
{{- end }}
{{- if and .Values.migrate.enabled (not $db.writerUrl) }}
{{- fail "database.writerUrl is missing: the migration needs a user who may create and alter tables; or name a Secret in database.existingSecret, or set migrate.enabled=false" }}
{{- end }}
{{- if eq $db.readerUrl $db.writerUrl }}
{{- fail "database.readerUrl and database.writerUrl are the same: the gateway must have a user of its own, with SELECT only" }}
{{- end }}
{{- end }}
{{- if .Values.ingress.enabled }}
{{- if not .Values.ingress.hosts }}
{{- fail "ingress.hosts is empty: name at least one host" }}
{{- end }}
{{- if not .Values.gateway.trustedProxies }}
{{- fail "gateway.trustedProxies is empty: behind an Ingress the gateway must know the proxy's networks, or it resets connections instead of answering 503" }}
{{- end }}
{{- end }}
{{- if and (gt (len .Values.gateway.cors.origins) 1) (has "*" .Values.gateway.cors.origins) }}
{{- fail "gateway.cors.origins: \"*\" means every origin, no other origin may stand beside it" }}
{{- end }}
{{- $names := dict }}
{{- range .Values.gateway.upstreams }}
{{- if hasKey $names .name }}
{{- fail (printf "gateway.upstreams: expected a unique name for each, found %s twice" .name) }}
{{- end }}
{{- $_ := set $names .name true }}
{{- end }}
{{- $indexer := .Values.indexer }}
{{- if $indexer.enabled }}
{{- if not (or $db.existingSecret $db.writerUrl) }}
{{- fail "database.writerUrl is missing: the indexer needs a user who may write; or name a Secret in database.existingSecret, or set indexer.enabled=false" }}
{{- end }}
{{- if and $indexer.existingSecret (or $indexer.stores $indexer.repositories $indexer.keys $indexer.koji) }}
{{- fail "indexer.existingSecret and indexer.stores, repositories, keys and koji exclude each other: set one of them" }}
{{- end }}
{{- if eq $indexer.mode "cron" }}
{{- if or $indexer.koji $indexer.messages $indexer.hooks.tokenSecret }}
{{- fail "indexer.koji, messages and hooks have no effect in indexer.mode=cron: set indexer.mode=listen" }}
{{- end }}
{{- if not (or $indexer.existingSecret $indexer.repositories) }}
{{- fail "indexer.repositories is empty: name at least one repository, or a Secret with indexer.toml in indexer.existingSecret" }}
{{- end }}
{{- else if not (or $indexer.existingSecret $indexer.repositories $indexer.koji $indexer.hooks.tokenSecret) }}
{{- fail "indexer.repositories, koji and hooks.tokenSecret are empty: name a source of packages, or a Secret with indexer.toml in indexer.existingSecret" }}
{{- end }}
{{- if and $indexer.messages (not (or $indexer.koji $indexer.existingSecret)) }}
{{- fail "indexer.messages need indexer.koji: messages name builds, and the hub is asked for the rest" }}
{{- end }}
{{- if le (int $indexer.listen.terminationGracePeriodSeconds) 30 }}
{{- fail "indexer.listen.terminationGracePeriodSeconds must be larger than 30: the indexer has 20 s to end requests and jobs" }}
{{- end }}
{{- range $list := list "stores" "repositories" "koji" "messages" }}
{{- $names := dict }}
{{- range get $indexer $list }}
{{- if hasKey $names .name }}
{{- fail (printf "indexer.%s: expected a unique name for each, found %s twice" $list .name) }}
{{- end }}
{{- $_ := set $names .name true }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.gateway.logFilter }}
{{- range .Values.gateway.extraEnv }}
{{- if eq .name "RUST_LOG" }}
{{- fail "gateway.logFilter and RUST_LOG in gateway.extraEnv exclude each other: set one of them" }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq .Values.cache.volume "claim") (gt (int .Values.replicaCount) 1) }}
{{- fail "cache.volume=claim allows one replica only: a cache directory belongs to one gateway, which locks it; use cache.volume=ephemeral for one claim per pod" }}
{{- end }}
{{- range .Values.extraVolumeMounts }}
{{- if hasPrefix "/var/cache/darkserver/" (printf "%s/" (clean .mountPath)) }}
{{- fail "extraVolumeMounts: expected no mount in /var/cache/darkserver: each gateway needs a cache of its own, see cache.volume" }}
{{- end }}
{{- end }}
{{- if and .Values.cache.existingClaim (ne .Values.cache.volume "claim") }}
{{- fail "cache.existingClaim is set, but cache.volume is not claim" }}
{{- end }}
{{- if le (include "darkserver.mebibytes" .Values.cache.volumeSize | int64) (include "darkserver.mebibytes" .Values.cache.size | int64) }}
{{- fail "cache.volumeSize must be larger than cache.size" }}
{{- end }}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) }}
{{- fail "terminationGracePeriodSeconds must be larger than preStopSeconds" }}
{{- end }}
{{- end }}
