"""Checks the chart: all objects rendered from test/values, and the values that it must refuse. Started by run.sh."""

import base64
import copy
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

try:
    import tomllib
except ImportError:
    import tomli as tomllib

CHART = pathlib.Path(__file__).resolve().parent.parent
VALUES = sorted((CHART / "test" / "values").glob("*.yaml"))
READER = "mysql://reader:read-S3cret@mariadb.db.svc:3306/darkserver"
WRITER = "mysql://writer:write-S3cret@mariadb.db.svc:3306/darkserver"
PASSWORDS = ("read-S3cret", "write-S3cret")
GATEWAY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or CHART.parent / "target") / "debug" / "darkserver"
INDEXER = GATEWAY.with_name("darkserver-import")


def minor(version):
    return int(version.split(".")[1])


# Every version from the oldest one that the chart admits up to the newest one with schemas.
KUBERNETES = sorted({v for v in all_versions() if minor(v) >= 25}, key=minor)

passed = failed = 0


def check(name, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name}" + (f"\n    {detail}" if detail else ""), file=sys.stderr)
    return good


# --- rendering -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    pass


def program(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


class Go:
    name = "render.go"

    def __init__(self, path):
        self.path = path

    def __call__(self, *files, kube="1.30.0", show="manifests", numbers="float"):
        args = [arg for file in files for arg in ("-f", file)]
        return program(self.path, "-chart", CHART, "-kube-version", kube, "-print", show, "-numbers", numbers, *args)


class Helm:
    name = "helm"

    def __call__(self, *files, kube="1.30.0"):
        args = [arg for file in files for arg in ("-f", file)]
        return program("helm", "template", "test", CHART, "--namespace", "default", "--kube-version", kube, *args)


class Strict(yaml.SafeLoader):
    """Refuses duplicate keys in a map, as Kubernetes does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def objects(text):
    """Returns the objects of a rendered text by kind and name."""
    result = {}
    for doc in yaml.load_all(text, Loader=Strict):
        if doc is None:
            continue
        key = (doc["kind"], doc["metadata"]["name"])
        if key in result:
            raise ValueError(f"object twice: {key}")
        result[key] = doc
    return result


def only(found, kind):
    these = [doc for (k, _), doc in found.items() if k == kind]
    assert len(these) == 1, f"{len(these)} objects of kind {kind}"
    return these[0]


def merged(more):
    """Returns values.yaml merged with `more` as Helm merges them."""

    def lay(below, above):
        for key, value in above.items():
            if value is None:
                below.pop(key, None)
            elif isinstance(value, dict) and isinstance(below.get(key), dict):
                lay(below[key], value)
            else:
                below[key] = value
        return below

    return lay(yaml.safe_load((CHART / "values.yaml").read_text()), copy.deepcopy(more))


class Extra:
    """Writes values of a test to files."""

    def __init__(self, directory):
        self.directory, self.count = pathlib.Path(directory), 0

    def __call__(self, values):
        self.count += 1
        file = self.directory / f"{self.count}.yaml"
        file.write_text(yaml.safe_dump(values))
        return file


# --- requirements of every result ------------------------------------------------------------------------------------


def validate(found, kube):
    """Validates strictly against the schemas of one Kubernetes version. Returns the errors."""
    wrong = []
    for (kind, name), doc in found.items():
        if doc["apiVersion"] == "monitoring.coreos.com/v1" and kind == "ServiceMonitor":
            continue  # not of Kubernetes itself: checked by ingress()
        try:
            used = kubernetes_validate.validate(doc, kube, strict=True)
            if used != ".".join(kube.split(".")[:2]):
                wrong.append(f"{kind} {name}: no schemas for {kube}, only for {used}")
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{kind} {name}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            wrong.append(error.message)
    return wrong


def gateway_deployment(found):
    """Returns the Deployment of the gateway."""
    these = [doc for (kind, _), doc in found.items() if kind == "Deployment"
             and doc["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"]
    assert len(these) == 1, f"{len(these)} Deployments of gateways"
    return these[0]


def of_gateway(found, kind):
    """Returns the only object of a kind that is not the indexer's."""
    these = {key: doc for key, doc in found.items() if not key[1].endswith("-indexer")}
    return only(these, kind)


def pods(found):
    jobs = [(kind, doc["spec"]["jobTemplate"]["spec"]["template"]) for (kind, _), doc in found.items()
            if kind == "CronJob"]
    return jobs + [(kind, doc["spec"]["template"]) for (kind, _), doc in found.items()
                   if kind in ("Deployment", "Job")]


def restricted(pod):
    """Checks the "restricted" Pod Security Standard and a read-only root. Returns the errors."""
    spec, wrong = pod["spec"], []
    allowed = {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "ephemeral"}
    wrong += [f"{flag} is set" for flag in ("hostNetwork", "hostPID", "hostIPC") if spec.get(flag)]
    wrong += [f"volume {v['name']}" for v in spec.get("volumes", []) if not (set(v) - {"name"}) <= allowed]
    own = spec.get("securityContext", {})
    if own.get("runAsNonRoot") is not True or own.get("runAsUser", 1) == 0:
        wrong.append("may run as root")
    if own.get("seccompProfile") != {"type": "RuntimeDefault"}:
        wrong.append("seccomp")
    if spec.get("automountServiceAccountToken") is not False:
        wrong.append("token is mounted")
    if spec.get("enableServiceLinks") is not False:
        wrong.append("service links put DARKSERVER_* variables of Kubernetes into the environment")
    for container in spec.get("initContainers", []) + spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append("capabilities")
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            wrong.append("privileges")
        if context.get("readOnlyRootFilesystem") is not True:
            wrong.append("root file system is writable")
        if any("hostPort" in port for port in container.get("ports", [])):
            wrong.append("host port")
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        if "/tmp" not in mounts:
            wrong.append("no /tmp")
        names = {volume["name"] for volume in spec["volumes"]}
        wrong += [f"mount of no volume: {m['name']}" for m in container["volumeMounts"] if m["name"] not in names]
        if "limits" not in container.get("resources", {}):
            wrong.append("no limits")
    for volume in spec["volumes"]:
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            wrong.append(f"emptyDir {volume['name']} without limit")
    return wrong


def database_reference(container):
    """Returns the (Secret, key) of DARKSERVER_DATABASE."""
    these = [env for env in container["env"] if env["name"] == "DARKSERVER_DATABASE"]
    assert len(these) == 1 and "value" not in these[0]
    reference = these[0]["valueFrom"]["secretKeyRef"]
    assert not reference.get("optional")
    return reference["name"], reference["key"]


def leaks(text):
    """Returns the passwords in a text, in clear or in base64."""
    coded = [base64.b64encode(url.encode()).decode() for url in (READER, WRITER)]
    return [word for word in (*PASSWORDS, *coded) if word in text]


def snake(values):
    """Returns a map with its keys in the spelling of gateway.toml."""
    return {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key): value for key, value in values.items()}


def upstream(number, values):
    """Returns an upstream as it stands in gateway.toml: its secret headers are those of variables."""
    headers = {header["name"]: {"env": f"UPSTREAM_HEADER_{number}_{at}"}
               for at, header in enumerate(values.get("headers", []))}
    return {**snake(values), **({"headers": headers} if headers else {})}


def cron_job(label, cron, secrets, values, image):
    wanted, spec = values["indexer"], cron["spec"]
    check(f"{label}: the CronJob's name has at most 52 characters", len(cron["metadata"]["name"]) <= 52)
    check(f"{label}: one run at a time", spec["concurrencyPolicy"] == "Forbid")
    check(f"{label}: schedule and history", {key: spec[key] for key in (
        "schedule", "suspend", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")}
        == {key: wanted[key] for key in (
            "schedule", "suspend", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")})
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    check(f"{label}: the CronJob refreshes all repositories",
          pod["containers"][0]["command"] + pod["containers"][0]["args"] ==
          ["darkserver-import", "repo", "--all", "--config", "/etc/darkserver/indexer.toml"])
    indexer(label, pod, secrets, values, image)


def service(label, found, secrets, values, image):
    """Checks the Deployment of `listen` and what belongs to it."""
    wanted = values["indexer"]
    listen, hooks, queues = wanted["listen"], wanted["hooks"], wanted["messages"]
    name = next(name for kind, name in found if kind == "Deployment" and name.endswith("-indexer"))
    deployment = found["Deployment", name]["spec"]
    pod, container = deployment["template"]["spec"], deployment["template"]["spec"]["containers"][0]
    check(f"{label}: listen: arguments", container["command"] + container["args"] == [
        "darkserver-import", "listen", "--config", "/etc/darkserver/indexer.toml", "--listen", "0.0.0.0:8003",
        "--log-format", listen["logFormat"]], container["args"])
    check(f"{label}: listen: replicas", deployment["replicas"] == listen["replicas"])
    check(f"{label}: listen: an indexer is there during an upgrade",
          deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
    check(f"{label}: listen: time to end", pod["terminationGracePeriodSeconds"] == listen["terminationGracePeriodSeconds"])
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        check(f"{label}: listen: {probe}", container[probe]["httpGet"] == {"path": path, "port": "http"})
    check(f"{label}: listen: port", container["ports"] == [{"name": "http", "containerPort": 8003, "protocol": "TCP"}])
    address = found["Service", name]["spec"]
    check(f"{label}: listen: Service", address["type"] == wanted["service"]["type"] and address["ports"] == [
        {"name": "http", "port": wanted["service"]["port"], "targetPort": "http", "protocol": "TCP"}], address)
    selectors = [deployment["selector"]["matchLabels"], address["selector"]]
    budget = found.get(("PodDisruptionBudget", name))
    check(f"{label}: listen: disruption budget with several replicas only", bool(budget) == (listen["replicas"] > 1))
    selectors += [budget["spec"]["selector"]["matchLabels"]] if budget else []
    monitor = found.get(("ServiceMonitor", name))
    check(f"{label}: listen: ServiceMonitor if wanted",
          bool(monitor) == values["metrics"]["serviceMonitor"]["enabled"])
    if monitor:
        check(f"{label}: listen: ServiceMonitor finds the Service, and not the gateway's",
              monitor["spec"]["selector"]["matchLabels"].items() <= found["Service", name]["metadata"]["labels"].items()
              and not monitor["spec"]["selector"]["matchLabels"].items()
              <= of_gateway(found, "Service")["metadata"]["labels"].items())
    others = [template for kind, template in pods(found) if template is not deployment["template"]]
    check(f"{label}: listen: selectors find the indexers alone", all(
        selector.items() <= deployment["template"]["metadata"]["labels"].items()
        and not any(selector.items() <= template["metadata"]["labels"].items() for template in others)
        for selector in selectors))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    check(f"{label}: listen: tokens of hooks if wanted", ("/etc/darkserver-hooks" in mounts) == bool(hooks["tokenSecret"]))
    if hooks["tokenSecret"]:
        check(f"{label}: listen: tokens of hooks", volumes[mounts["/etc/darkserver-hooks"]["name"]]["secret"] == {
            "secretName": hooks["tokenSecret"], "defaultMode": 0o440,
            "items": [{"key": hooks["tokenKey"], "path": "token"}]})
    certificates = {f"/etc/darkserver-messages/{queue['name']}": queue["certificateSecret"] for queue in queues
                    if "certificateSecret" in queue}
    check(f"{label}: listen: certificates of brokers", certificates == {
        path: volumes[mount["name"]]["secret"]["secretName"] for path, mount in mounts.items()
        if path.startswith("/etc/darkserver-messages/")})
    indexer(label, pod, secrets, values, image)


def queue_table(values):
    """Returns a queue as it stands in indexer.toml."""
    table = snake(values)
    if table.pop("certificate_secret", None):
        directory = f"/etc/darkserver-messages/{values['name']}"
        table |= {"ca_file": f"{directory}/ca.crt", "cert_file": f"{directory}/tls.crt",
                  "key_file": f"{directory}/tls.key"}
    return table


def indexer(label, pod, secrets, values, image):
    """Checks what CronJob and Deployment have in common."""
    wanted = values["indexer"]
    container = pod["containers"][0]
    check(f"{label}: the indexer runs the gateway's image", container["image"] == image)
    write = database_reference(container)
    check(f"{label}: the indexer has the writing user", write[1] == values["database"]["writerKey"], write)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    secret = volumes[mounts["/etc/darkserver"]["name"]]["secret"]["secretName"]
    if not values["database"].get("existingSecret"):
        check(f"{label}: the indexer's Secret has the writing user alone, and stays",
              {k: base64.b64decode(v).decode() for k, v in secrets[write[0]]["data"].items()} == {write[1]: WRITER}
              and "annotations" not in secrets[write[0]]["metadata"])
    if wanted["existingSecret"]:
        check(f"{label}: the indexer takes the existing Secret", secret == wanted["existingSecret"])
        return
    files = {name: base64.b64decode(data).decode() for name, data in secrets[secret]["data"].items()}
    config = tomllib.loads(files.pop("indexer.toml"))
    check(f"{label}: files of keys", files == wanted["keys"], list(files))
    hooks = {key: value for key, value in snake(wanted["hooks"]).items() if key not in ("token_secret", "token_key")}
    if wanted["hooks"]["tokenSecret"]:
        hooks["token_file"] = "/etc/darkserver-hooks/token"
    check(f"{label}: indexer.toml", config == {
        **({"contact": wanted["contact"]} if wanted["contact"] else {}),
        "requests_per_host": wanted["requestsPerHost"],
        "check": snake(wanted["check"]),
        **({"store": [snake(store) for store in wanted["stores"]]} if wanted["stores"] else {}),
        **({"repository": [snake(repository) for repository in wanted["repositories"]]}
           if wanted["repositories"] else {}),
        **({"koji": [snake(koji) for koji in wanted["koji"]]} if wanted["koji"] else {}),
        **({"messages": [queue_table(queue) for queue in wanted["messages"]]} if wanted["messages"] else {}),
        **({"service": {"refresh_interval": wanted["listen"]["refreshInterval"]}, "hooks": hooks}
           if wanted["mode"] == "listen" else {}),
    }, config)


def common(label, text, found, values):
    deployment = gateway_deployment(found)
    pod = deployment["spec"]["template"]
    gateway = pod["spec"]["containers"][0]

    for kind, template in pods(found):
        wrong = restricted(template)
        check(f"{label}: {kind}: restricted pod security", not wrong, wrong)

    open_text = "".join(json.dumps(doc) for (kind, _), doc in found.items() if kind != "Secret")
    check(f"{label}: no password outside Secrets", not leaks(open_text), leaks(open_text))
    chart_comments = "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
    check(f"{label}: no password in comments", not leaks(chart_comments))

    # Two users: the gateway has the reading one and no access to the other.
    secrets = {name: doc for (kind, name), doc in found.items() if kind == "Secret"}
    existing = values["database"].get("existingSecret")
    read = database_reference(gateway)
    check(f"{label}: gateway has the reading user", read[1] == values["database"]["readerKey"], read)
    if existing:
        check(f"{label}: gateway takes the existing Secret", read[0] == existing and not secrets, (read, list(secrets)))
    else:
        data = secrets.get(read[0], {}).get("data", {})
        check(f"{label}: the reader's Secret has the reading user alone",
              {k: base64.b64decode(v).decode() for k, v in data.items()} == {read[1]: READER})
        check(f"{label}: the reader's Secret is an ordinary object",
              "helm.sh/hook" not in secrets.get(read[0], {"metadata": {}})["metadata"].get("annotations", {}))
        check(f"{label}: the gateway does not know the writer's Secret",
              not any(name in json.dumps(pod) for name in secrets if name != read[0]))
    check(f"{label}: the gateway has no key of the writer", values["database"]["writerKey"] not in json.dumps(pod))

    jobs = [doc for (kind, _), doc in found.items() if kind == "Job"]
    if check(f"{label}: Job if wanted", len(jobs) == int(values["migrate"]["enabled"])) and jobs:
        job = jobs[0]
        container = job["spec"]["template"]["spec"]["containers"][0]
        check(f"{label}: the Job migrates",
              container["command"] + container["args"] == ["darkserver-import", "migrate"])
        write = database_reference(container)
        check(f"{label}: the Job has the writing user", write[1] == values["database"]["writerKey"], write)
        hook = job["metadata"]["annotations"]
        check(f"{label}: the Job runs before install and upgrade", hook["helm.sh/hook"] == "pre-install,pre-upgrade")
        check(f"{label}: a new Job replaces the old one",
              "before-hook-creation" in hook["helm.sh/hook-delete-policy"])
        if not existing:
            secret = secrets[write[0]]
            check(f"{label}: the writer's Secret has the writing user alone",
                  {k: base64.b64decode(v).decode() for k, v in secret["data"].items()} == {write[1]: WRITER})
            other = secret["metadata"]["annotations"]
            check(f"{label}: the writer's Secret is there before the Job",
                  other["helm.sh/hook"] == hook["helm.sh/hook"]
                  and int(other["helm.sh/hook-weight"]) < int(hook["helm.sh/hook-weight"]))
        account = job["spec"]["template"]["spec"].get("serviceAccountName")
        check(f"{label}: the Job needs no account of the release",
              ("ServiceAccount", account) not in found, account)
        check(f"{label}: both run the same image", container["image"] == gateway["image"])
    elif not existing and not values["indexer"]["enabled"]:
        check(f"{label}: no writing user without a migration", len(secrets) == 1, list(secrets))

    crons = [doc for (kind, _), doc in found.items() if kind == "CronJob"]
    mode = values["indexer"]["mode"] if values["indexer"]["enabled"] else None
    if check(f"{label}: CronJob if wanted", len(crons) == int(mode == "cron")) and crons:
        cron_job(label, crons[0], secrets, values, gateway["image"])
    listening = [name for kind, name in found if kind == "Deployment" and name.endswith("-indexer")]
    if check(f"{label}: Deployment of the indexer if wanted", len(listening) == int(mode == "listen")) and listening:
        service(label, found, secrets, values, gateway["image"])

    # The command line.
    tls = values["gateway"]["tls"]["secretName"]
    check(f"{label}: command", gateway["command"] == ["darkserver"])
    check(f"{label}: arguments",
          gateway["args"] == ["serve", "--listen", "0.0.0.0:8002", *(["--listen", "tls:0.0.0.0:8443"] if tls else []),
                              "--config", "/etc/darkserver/gateway.toml",
                              "--cache-dir", "/var/cache/darkserver", "--cache-size", values["cache"]["size"] + "B",
                              "--log-format", "json"], gateway["args"])
    mounts = {mount["mountPath"]: mount for mount in gateway["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    check(f"{label}: configuration is mounted from the ConfigMap",
          volumes[mounts["/etc/darkserver"]["name"]]["configMap"]["name"] == only(found, "ConfigMap")["metadata"]["name"]
          and mounts["/etc/darkserver"]["readOnly"])
    check(f"{label}: the cache is writable", not mounts["/var/cache/darkserver"].get("readOnly"))
    claim = volumes["cache"].get("persistentVolumeClaim")
    check(f"{label}: the claim exists", not claim or ("PersistentVolumeClaim", claim["claimName"]) in found)

    # Probes: the liveness probe must not depend on the database.
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        check(f"{label}: {probe}", gateway[probe]["httpGet"] == {"path": path, "port": "http"}, gateway[probe])
    # /readyz answers from memory: no answer within a second means that the gateway hangs. /readyz?strict would take all
    # pods out of service with one upstream.
    check(f"{label}: readiness within a second", gateway["readinessProbe"]["timeoutSeconds"] <= 1
          and gateway["livenessProbe"]["timeoutSeconds"] >= 2)
    ports = [("http", 8002, values["service"]["port"])]
    ports += [("https", 8443, values["service"]["tlsPort"])] if tls else []
    check(f"{label}: container ports", gateway["ports"] ==
          [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port, _ in ports], gateway["ports"])
    check(f"{label}: time to finish downloads", pod["spec"]["terminationGracePeriodSeconds"] >= 60)

    # Selectors.
    address = of_gateway(found, "Service")
    selectors = [deployment["spec"]["selector"]["matchLabels"], address["spec"]["selector"]]
    disruption = [doc for (kind, name), doc in found.items()
                  if kind == "PodDisruptionBudget" and not name.endswith("-indexer")]
    selectors += [doc["spec"]["selector"]["matchLabels"] for doc in disruption]

    def selects(selector, template):
        return selector.items() <= template["metadata"]["labels"].items()

    check(f"{label}: selectors find the gateway", all(selects(s, pod) for s in selectors))
    check(f"{label}: selectors leave Job and indexer out",
          not any(selects(s, template) for s in selectors for _, template in pods(found) if template is not pod))
    check(f"{label}: service ports", address["spec"]["ports"] ==
          [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, _, port in ports])
    check(f"{label}: disruption budget with several replicas only", len(disruption) == int(values["replicaCount"] > 1))
    check(f"{label}: everything is in the namespace",
          all(doc["metadata"].get("namespace") == "default" for doc in found.values()))

    # gateway.toml.
    config = tomllib.loads(only(found, "ConfigMap")["data"]["gateway.toml"])
    gateway = values["gateway"]
    instance, given = config["federation"].pop("instance"), gateway["federation"].pop("instance")
    check(f"{label}: one name in Via for all replicas",
          instance == given if given else re.fullmatch("darkserver-[0-9a-f]{8}", instance), instance)
    check(f"{label}: gateway.toml", config == {
        "trusted_proxies": gateway["trustedProxies"],
        **({"tls": {"certificate": "/etc/darkserver-tls/tls.crt", "key": "/etc/darkserver-tls/tls.key"}} if tls else {}),
        "cors": gateway["cors"],
        "connections": snake(gateway["connections"]),
        "request": snake(gateway["request"]),
        "extraction": snake(gateway["extraction"]),
        "prefetch": snake(gateway["prefetch"]),
        "claims": snake(gateway["claims"]),
        "index": snake(gateway["index"]),
        "federation": {key: str(value) if key == "unavailable" else value
                       for key, value in snake(gateway["federation"]).items() if value != ""},
        "relay": snake(gateway["relay"]),
        "upstream": [upstream(number, values) for number, values in enumerate(gateway["upstreams"])],
        "metadata": snake(gateway["metadata"]),
    }, config)


# --- requirements of single files ------------------------------------------------------------------------------------


def gateway_container(found):
    return gateway_deployment(found)["spec"]["template"]["spec"]["containers"][0]


def environment(found):
    return {env["name"]: env.get("value") for env in gateway_container(found)["env"]}


def configuration(found):
    return tomllib.loads(only(found, "ConfigMap")["data"]["gateway.toml"])


def documented():
    """Returns the keys of tables and `trusted_proxies`, with the defaults in docs/configuration.md."""
    text = (CHART.parent / "docs" / "configuration.md").read_text()
    paragraphs = re.findall(r"^\*\*`([a-z_]+\.[a-z_]+|trusted_proxies)`\*\*(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    defaults = {key: re.search(r"Default\s+`([^`]*)`", paragraph) for key, paragraph in paragraphs}
    return {key: default[1] for key, default in defaults.items() if default and not key.startswith("upstream.")}


def default(found):
    config = configuration(found)
    check("default: no upstreams", config.pop("upstream") == [])
    config["federation"].pop("instance")
    given = {"trusted_proxies": config.pop("trusted_proxies")}
    given |= {f"{table}.{key}": value for table, keys in config.items() for key, value in keys.items()}
    check("default: gateway.toml has every key that belongs there, and the gateway's own defaults",
          {key: json.dumps(value) if isinstance(value, bool) else str(value) for key, value in given.items()} == documented(),
          (given, documented()))
    check("default: the gateway decides what is logged", "RUST_LOG" not in environment(found))
    volumes = gateway_deployment(found)["spec"]["template"]["spec"]["volumes"]
    check("default: bounded cache", {"name": "cache", "emptyDir": {"sizeLimit": "12Gi"}} in volumes)
    check("default: nothing optional",
          sorted(kind for kind, _ in found) == sorted(["ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Secret",
                                                       "Secret", "Service", "ServiceAccount"]))
    check("default: image", gateway_container(found)["image"] == "darkserver:0.1.0", gateway_container(found)["image"])
    check("default: no public URL to invent", "DARKSERVER_PUBLIC_URL" not in environment(found))
    strategy = gateway_deployment(found)["spec"]["strategy"]
    check("default: never fewer gateways than wanted",
          strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1})


def existing_secret(found):
    check("existing-secret: keys", database_reference(gateway_container(found)) == ("index-credentials", "gateway"))
    for kind, template in pods(found):
        spec = template["spec"]
        check(f"existing-secret: {kind}: account", spec["serviceAccountName"] == "web")
        check(f"existing-secret: {kind}: registry", spec["imagePullSecrets"] == [{"name": "registry"}])
        check(f"existing-secret: {kind}: certificate authority",
              {"name": "database-ca", "mountPath": "/etc/database-ca", "readOnly": True}
              in spec["containers"][0]["volumeMounts"])
    check("existing-secret: environment", environment(found)["HTTPS_PROXY"] == "http://proxy.example.org:3128")


def ingress(found):
    doc = only(found, "Ingress")
    check("ingress: class", doc["spec"]["ingressClassName"] == "public")
    check("ingress: hosts", [rule["host"] for rule in doc["spec"]["rules"]] ==
          ["debuginfod.example.org", "darkserver.example.org"])
    service = of_gateway(found, "Service")["metadata"]
    for rule in doc["spec"]["rules"]:
        check("ingress: backend", rule["http"]["paths"] == [{"path": "/", "pathType": "Prefix", "backend": {
            "service": {"name": service["name"], "port": {"name": "http"}}}}])
    check("ingress: TLS", doc["spec"]["tls"][0]["secretName"] == "debuginfod-tls")
    check("ingress: public URL of the first host",
          environment(found)["DARKSERVER_PUBLIC_URL"] == "https://debuginfod.example.org")
    # Kubernetes has no schema for this kind, so each of its few fields is checked.
    monitor = of_gateway(found, "ServiceMonitor")
    check("ingress: ServiceMonitor", set(monitor["spec"]) == {"selector", "endpoints"} and
          monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}])
    check("ingress: ServiceMonitor finds the Service",
          monitor["spec"]["selector"]["matchLabels"].items() <= service["labels"].items())
    check("ingress: ServiceMonitor labels", monitor["metadata"]["labels"]["release"] == "prometheus")


def cache_claim(found):
    claim = only(found, "PersistentVolumeClaim")["spec"]
    check("cache-claim: claim", claim == {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                                          "resources": {"requests": {"storage": "1Ti"}}}, claim)
    deployment = gateway_deployment(found)["spec"]
    check("cache-claim: old pod goes first", deployment["strategy"] == {"type": "Recreate"})
    own = deployment["template"]["spec"]["securityContext"]
    check("cache-claim: ids can be left out", set(own) == {"runAsNonRoot", "seccompProfile"}, own)


def federation(found):
    config = configuration(found)
    check("federation: configuration", config["federation"] == {
        "absent": "all", "unavailable": "503", "prefer": "redirect", "contact": "mailto:symbols@example.org",
        "max_hops": 3, "unreachable_after": "1h", "warm_timeout": "2m", "max_warm": 0, "forward_client": True,
        "instance": "symbols.example.org", "trace": True}, config)
    company, objects_store = config["upstream"]
    check("federation: one upstream", company == {
        "name": "company", "url": "https://debuginfod.example.org/", "mode": "relay", "priority": -10,
        "deadline": "500ms", "max_concurrent": 4, "tls": {"ca": "/etc/upstream/ca.pem"},
        "headers": {"X-Token": {"env": "UPSTREAM_HEADER_0_0"}, "Authorization": {"env": "UPSTREAM_HEADER_0_1"}}},
        company)
    check("federation: another upstream", objects_store == {
        "name": "objects", "url": "https://mirror.example.net/debuginfod", "enabled": False,
        "serves": ["debuginfo", "source"], "build_ids": ["gnu"], "absent_statuses": [403, 404], "absent_ttl": "10m",
        "late_absent_ttl": "30m", "redirect_hosts": ["cdn.example.net", "[2001:db8::1]"], "allow_private": True},
        objects_store)
    references = {env["name"]: env["valueFrom"]["secretKeyRef"] for env in gateway_container(found)["env"]
                  if env["name"].startswith("UPSTREAM_HEADER")}
    check("federation: headers come from Secrets", references == {
        "UPSTREAM_HEADER_0_0": {"name": "upstream-tokens", "key": "company"},
        "UPSTREAM_HEADER_0_1": {"name": "upstream-tokens", "key": "company-basic"}}, references)
    check("federation: index", config["index"] == {"found_ttl": "5m", "absent_ttl": "1500ms", "stale_ttl": "2d",
                                                   "max_entries": 12000000, "filter": False}, config)
    check("federation: relay", config["relay"] == {"max_source": "1MiB", "max_concurrent": 8}, config)
    check("federation: log filter", environment(found)["RUST_LOG"] == "info,access=warn", environment(found))
    check("federation: public URL", environment(found)["DARKSERVER_PUBLIC_URL"] == "https://symbols.example.org")
    check("federation: service", of_gateway(found, "Service")["spec"]["type"] == "LoadBalancer")


def replicas(found):
    deployment = gateway_deployment(found)
    spec = deployment["spec"]["template"]["spec"]
    check("replicas: name", deployment["metadata"]["name"] == "symbols")
    check("replicas: count", deployment["spec"]["replicas"] == 12)
    check("replicas: digest",
          spec["containers"][0]["image"] == "registry.example.org/darkserver@sha256:" + "0123456789abcdef" * 4)
    cache = [volume for volume in spec["volumes"] if volume["name"] == "cache"][0]
    check("replicas: a claim for each pod", cache["ephemeral"]["volumeClaimTemplate"]["spec"] == {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "resources": {"requests": {"storage": "12Gi"}}})
    check("replicas: budget", of_gateway(found, "PodDisruptionBudget")["spec"]["maxUnavailable"] == "25%")
    check("replicas: spread", [c["topologyKey"] for c in spec["topologySpreadConstraints"]] ==
          ["topology.kubernetes.io/zone"])
    check("replicas: preStop off", "lifecycle" not in spec["containers"][0])
    for kind, template in pods(found):
        check(f"replicas: {kind}: placement", template["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
              and template["spec"]["tolerations"] == [{"key": "web", "operator": "Exists"}])
    meta = deployment["spec"]["template"]["metadata"]
    check("replicas: labels and annotations", meta["labels"]["example.org/tier"] == "web"
          and meta["annotations"]["example.org/team"] == "tools" and "checksum/config" in meta["annotations"])


def tls(found):
    pod = gateway_deployment(found)["spec"]["template"]["spec"]
    check("tls: the Secret is mounted where the configuration looks for it",
          {"name": "tls", "secret": {"secretName": "darkserver-tls", "defaultMode": 0o440}} in pod["volumes"]
          and {"name": "tls", "mountPath": "/etc/darkserver-tls", "readOnly": True} in gateway_container(found)["volumeMounts"])
    check("tls: pages of one origin", configuration(found)["cors"] == {"origins": ["https://debugger.example.org"]})
    check("tls: service", [port["port"] for port in of_gateway(found, "Service")["spec"]["ports"]] == [80, 443])


def indexer_cron(found):
    name = only(found, "CronJob")["metadata"]["name"]
    check("indexer-cron: the name is cut", name == "debugging-symbols-of-all-our-distributions-a-indexer", name)
    pod = dict(pods(found))["CronJob"]["spec"]
    check("indexer-cron: environment", {"name": "HTTPS_PROXY", "value": "http://proxy.example.org:3128"}
          in pod["containers"][0]["env"])


def indexer_listen(found):
    deployment = found["Deployment", "test-darkserver-indexer"]["spec"]["template"]
    container = deployment["spec"]["containers"][0]
    check("indexer-listen: log", {"name": "RUST_LOG", "value": "info,indexer=debug"} in container["env"])
    check("indexer-listen: uploads are where the gateway reads them",
          {"name": "uploads", "mountPath": "/srv/uploads"} in container["volumeMounts"]
          and {"name": "uploads", "mountPath": "/srv/uploads"} in gateway_container(found)["volumeMounts"])
    check("indexer-listen: annotations of the Service",
          found["Service", "test-darkserver-indexer"]["metadata"]["annotations"] == {"example.org/exposed": "true"})
    check("indexer-listen: spread over nodes", [c["topologyKey"] for c in
          deployment["spec"]["topologySpreadConstraints"]] == ["kubernetes.io/hostname"])
    check("indexer-listen: monitor", found["ServiceMonitor", "test-darkserver-indexer"]["metadata"]["labels"]["release"]
          == "prometheus")


SPECIAL = {"default": default, "indexer-cron": indexer_cron, "indexer-listen": indexer_listen,
            "existing-secret": existing_secret, "ingress": ingress, "cache-claim": cache_claim,
           "federation": federation, "replicas": replicas, "tls": tls}

# --- the gateway itself ----------------------------------------------------------------------------------------------

# Values at the limits, by their path below `gateway`: accepted ones, then refused ones. Schema and gateway must agree.
DURATION = (["100ms", "60s", "60000ms", "2500ms"], ["99ms", "61s", "60001ms", "90s", "1ms", "0s"])
TIMEOUT = (["100ms", "1h", "60m", "3600s", "3600000ms"], ["1ms", "99ms", "2h", "61m", "3601s", "3600001ms", "0s"])
TTL = (["0s", "1ms", "365d", "8760h"], ["366d", "8761h"])
HOSTS = ([["*"], ["mirror.example.org"], ["192.0.2.1"], ["[2001:db8::1]"]],
         [["a:80"], ["https://u:p@h"], ["a/b"], [""], ["*.example.org"]])
LIMITS = {
    "request.budget": DURATION,
    "metadata.budget": DURATION,
    "connections.headTimeout": TIMEOUT,
    "connections.idleTimeout": TIMEOUT,
    "request.maxConcurrent": ([2, 1000000], [0, 1, 1000001]),
    "extraction.maxConcurrent": ([2, 1024], [1, 1025]),
    "extraction.abandoned": (["finish", "cancel"], ["drop"]),
    "prefetch.maxBytes": (["0B", "256MiB", "262144KiB", "268435456B"],
                          ["257MiB", "300MiB", "262145KiB", "268435457B"]),
    "prefetch.timeout": (["0s", "10s", "10000ms"], ["11s", "10001ms"]),
    "claims.maxBytes": (["0B", "512MiB", "16GiB", "16384MiB", "16777216KiB", "17179869184B"],
                        ["17GiB", "16385MiB", "16777217KiB", "17179869185B"]),
    "index.foundTtl": TTL,
    "index.absentTtl": (["0s", "2s", "2000ms"], ["3s", "2001ms"]),
    "index.staleTtl": TTL,
    "index.maxEntries": ([0, 12000000], [-1]),
    "federation.prefer": (["extract", "redirect"], ["none"]),
    "federation.unavailable": (["auto", "reset", "503"], ["504"]),
    "federation.maxHops": ([1, 100], [0]),
    "federation.absent": (["reachable", "all"], ["any"]),
    "federation.contact": (["mailto:a@example.org", "https://example.org/contact", "http://h"],
                           ["a@example.org", "mailto:nobody", "https://u:p@example.org", "ftp://h", "https://h/(x)"]),
    "federation.unreachableAfter": (["1s", "1000ms", "24h", "1440m", "86400s"], ["999ms", "0s", "25h", "86401s"]),
    "federation.warmTimeout": (["1s", "10m", "600s", "600000ms"], ["999ms", "0s", "11m", "601s"]),
    "federation.maxWarm": ([0, 1024], [-1, 1025]),
    "federation.instance": (["gateway-a", "a.example.org", "!#$%&'*+-.^_`|~", "a" * 64],
                            ["a b", "a" * 65, "h:8002", "ä", "[::1]"]),
    "federation.forwardClient": ([True, False], ["no"]),
    "federation.trace": ([True, False], ["no"]),
    "relay.maxSource": (["0B", "1GiB", "1024MiB", "1048576KiB", "1073741824B"], ["2GiB", "1025MiB", "1073741825B"]),
    "relay.maxConcurrent": ([1, 1024], [0, 1025]),
    "upstreams.name": (["fedora", "h:8002/a_b-c.d", "a" * 64], ["", "a b", "a" * 65, "[::1]"]),
    "upstreams.url": (["https://h/", "http://h:8002/path"], ["file:///h", "h", "https://h/?q=1", "https://h/#f"]),
    "upstreams.enabled": ([True, False], ["no"]),
    "upstreams.mode": (["redirect", "relay"], ["proxy"]),
    "upstreams.priority": ([-2147483648, 0, 2147483647], ["first", 2147483648]),
    "upstreams.deadline": (["50ms", "60s", "60000ms"], ["49ms", "0s", "61s", "60001ms"]),
    "upstreams.serves": ([["metadata"], ["debuginfo", "executable", "source", "section"]],
                         [[], ["log"], ["source", "source"]]),
    "upstreams.buildIds": ([["gnu"], ["uuid", "short", "go", "other"]], [[], ["sha1"]]),
    "upstreams.absentStatuses": ([[404], [403, 404], [400, 599]], [[], [200], [302], [399], [406], [600]]),
    "upstreams.absentTtl": (["0s", "1h", "60m", "3600s"], ["2h", "61m", "3601s"]),
    "upstreams.lateAbsentTtl": (["1s", "24h"], ["0s", "999ms", "25h"]),
    "upstreams.maxConcurrent": ([1, 10000], [0, 10001]),
    "upstreams.tls": ([{"ca": "/a"}, {"certificate": "/c", "key": "/k"}], [{"key": "/k"}, {"ca": ""}, {"cas": "/a"}]),
    "upstreams.redirectHosts": HOSTS,
    "upstreams.allowPrivate": ([True, False], ["no"]),
    "metadata.maxResults": ([1, 100000], [0, 100001]),
    "cors.origins": ([["*"], ["https://a.example.org", "http://[::1]:8080"]],
                     [["https://a.example.org/"], ["a.example.org"], ["https://A.example.org"]]),
    "trustedProxies": ([["0.0.0.0/0"], ["10.0.0.1/32"], ["::/0"], ["fd00::/8"], ["2001:db8::1/128"],
                         ["::ffff:10.0.0.0/104"]],
                       [["10.0.0.0/33"], ["10.0.0.256/8"], ["fd00::/129"], ["1::2::3/8"], ["10.0.0.1"], [":/8"]]),
}


def refusal(text, directory):
    """Returns the gateway's error for this file, "" if it is accepted. The URL is checked last, after the whole file."""
    file = pathlib.Path(directory) / "gateway.toml"
    file.write_text(text)
    command = [str(GATEWAY), "--config", str(file), "--database", "sqlite:/nonexistent.db", "--public-url", "ftp://last"]
    # The chart sets these variables from Secrets.
    variables = {name: "secret" for name in re.findall(r'env = "(UPSTREAM_HEADER_\d+_\d+)"', text)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                          env={"DARKSERVER_ETC": directory} | variables)
    return "" if "found scheme `ftp`" in done.stderr else done.stderr.strip() or "no message"


def inline(value):
    """Returns a value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def indexer_file(render, values):
    """Returns the rendered indexer.toml."""
    texts = [doc["data"]["indexer.toml"] for (kind, _), doc in objects(render(CHART / "test" / "values" / values)).items()
             if kind == "Secret" and "indexer.toml" in doc["data"]]
    return base64.b64decode(texts[0]).decode()


def check_indexer(render, directory):
    """Checks that the indexer reads the rendered files without asking the network: of one it misses the keys of every
    repository first, and the other names its own directories and a port where nothing listens."""
    if not check("the indexer is built (cargo build --workspace --bins)", INDEXER.exists(), INDEXER):
        return
    file = pathlib.Path(directory) / "indexer.toml"
    tables = indexer_file(render, "indexer-cron.yaml").split("[[repository]]")
    tables[1:] = [table if "\nkeys = " in table else '\nkeys = ["/nowhere.asc"]' + table for table in tables[1:]]
    file.write_text("[[repository]]".join(tables))
    command = [str(INDEXER), "--config", str(file), "--database", f"sqlite:{directory}/index.db", "repo", "--all"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"DARKSERVER_ETC": directory})
    check("indexer-cron.yaml: the indexer reads its indexer.toml",
          done.returncode == 1 and "hand-made: REFUSED: key /etc/darkserver/hand-made.asc" in done.stderr
          and done.stderr.count("REFUSED: key ") == len(tables) - 1, done)
    listen(render, directory, file)


def listen(render, directory, file):
    """Starts the service with the rendered file, asks it whether it is alive, and ends it."""
    text = indexer_file(render, "indexer-listen.yaml")
    text = re.sub(r'(://(?:[^/"]*@)?)[^/"?]+', r"\g<1>127.0.0.1:1", text)
    for name in ("ca.crt", "tls.crt", "tls.key"):
        text = text.replace(f"/etc/darkserver-messages/fedora/{name}", f"{directory}/{name}")
    text = text.replace("/etc/darkserver-hooks", directory).replace("/srv/uploads", directory)
    file.write_text(text)
    subprocess.run(["openssl", "req", "-x509", "-subj", "/CN=test", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{directory}/tls.key", "-out",
                    f"{directory}/tls.crt"], check=True, capture_output=True)
    shutil.copy(f"{directory}/tls.crt", f"{directory}/ca.crt")
    token = pathlib.Path(directory) / "token"
    token.write_text("a-token-of-the-chart-s-tests-0123456789\n")
    token.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {"DARKSERVER_ETC": directory}
    database = ["--database", f"sqlite:{directory}/listen.db"]
    subprocess.run([str(INDEXER), *database, "migrate"], check=True, capture_output=True, env=environment, timeout=60)
    command = [str(INDEXER), *database, "listen", "--config", str(file), "--listen", address, "--log-format", "json"]
    log = pathlib.Path(directory) / "listen.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        answer, end = "", time.monotonic() + 30
        while not answer and process.poll() is None and time.monotonic() < end:
            try:
                answer = urllib.request.urlopen(f"http://{address}/healthz", timeout=5).read().decode()
            except OSError:
                time.sleep(0.1)
        check("indexer-listen.yaml: the indexer reads its indexer.toml, and answers", answer == "alive\n", log.read_text())
        process.terminate()
        check("indexer-listen.yaml: the indexer ends in time", process.wait(timeout=60) == 0, log.read_text())
    finally:
        process.kill()
        process.wait()


def check_gateway(render, directory):
    """Checks that the gateway reads each rendered file, and that its limits are those of the schema."""
    if not check("the gateway is built (cargo build --workspace --bins)", GATEWAY.exists(), GATEWAY):
        return
    for file in VALUES:
        wrong = refusal(only(objects(render(file)), "ConfigMap")["data"]["gateway.toml"], directory)
        check(f"{file.name}: the gateway reads its gateway.toml", not wrong, wrong)
    validator = jsonschema.Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    for path, (accepted, refused) in LIMITS.items():
        table, _, key = path.rpartition(".")
        for value in accepted + refused:
            values = {key: value}
            if table == "upstreams":
                values = {"name": "a", "url": "https://h"} | values
            text = "".join(f"{name} = {inline(value)}\n" for name, value in snake(values).items())
            head = {"": "", "upstreams": "[[upstream]]\n"}.get(table, f"[{table}]\n")
            wrong = refusal(head + text, directory)
            values = [values] if table == "upstreams" else values
            values = {"gateway": {table: values} if table else values}
            valid = not list(validator.iter_errors(merged(values)))
            check(f"limits: the gateway and {path} = {value}", (value in accepted) == (not wrong), wrong)
            check(f"limits: the schema and {path} = {value}", (value in accepted) == valid)


# --- values that are refused -----------------------------------------------------------------------------------------

# Values (with two valid database URLs) that the templates refuse, and words of the message.
KOJI = {"name": "k", "hub": "https://h/kojihub", "topurl": "https://h"}
QUEUE = {"name": "q", "url": "amqps://h"}
CONTRADICTIONS = [
    ({"gateway": {"upstreams": [{"name": "a", "url": "https://a"}, {"name": "a", "url": "https://b"}]}},
     "a unique name for each, found a twice"),
    ({"gateway": {"cors": {"origins": ["*", "https://a.example"]}}}, "no other origin may stand beside it"),
    ({"database": {"readerUrl": ""}}, "database.readerUrl is missing"),
    ({"database": {"writerUrl": ""}}, "database.writerUrl is missing"),
    ({"database": {"writerUrl": READER}}, "user of its own, with SELECT only"),
    ({"database": {"existingSecret": "given"}}, "exclude each other"),
    ({"ingress": {"enabled": True, "hosts": ["a.example.org"]}}, "gateway.trustedProxies is empty"),
    ({"ingress": {"enabled": True}, "gateway": {"trustedProxies": ["10.0.0.0/8"]}}, "ingress.hosts is empty"),
    ({"gateway": {"logFilter": "info", "extraEnv": [{"name": "RUST_LOG", "value": "debug"}]}},
     "gateway.logFilter and RUST_LOG"),
    ({"indexer": {"enabled": True}}, "indexer.repositories is empty"),
    ({"migrate": {"enabled": False}, "database": {"writerUrl": ""},
      "indexer": {"enabled": True, "existingSecret": "mine"}}, "the indexer needs a user who may write"),
    ({"indexer": {"enabled": True, "existingSecret": "mine", "repositories": [{"name": "a"}]}}, "exclude each other"),
    ({"indexer": {"enabled": True, "repositories": [{"name": "a"}, {"name": "a"}]}},
     "a unique name for each, found a twice"),
    ({"indexer": {"enabled": True, "mode": "listen"}}, "koji and hooks.tokenSecret are empty"),
    ({"indexer": {"enabled": True, "mode": "listen", "hooks": {"tokenSecret": "t"}, "messages": [QUEUE]}},
     "messages need indexer.koji"),
    ({"indexer": {"enabled": True, "mode": "listen", "koji": [KOJI, KOJI]}}, "a unique name for each, found k twice"),
    ({"indexer": {"enabled": True, "mode": "listen", "koji": [KOJI], "messages": [QUEUE, QUEUE]}},
     "a unique name for each, found q twice"),
    ({"indexer": {"enabled": True, "mode": "listen", "koji": [KOJI], "existingSecret": "mine"}}, "exclude each other"),
    ({"indexer": {"enabled": True, "repositories": [{"name": "a"}], "koji": [KOJI]}}, "no effect in indexer.mode=cron"),
    ({"indexer": {"enabled": True, "repositories": [{"name": "a"}], "hooks": {"tokenSecret": "t"}}},
     "no effect in indexer.mode=cron"),
    ({"indexer": {"enabled": True, "mode": "listen", "koji": [KOJI], "listen": {"terminationGracePeriodSeconds": 30}}},
     "must be larger than 30"),
    ({"cache": {"volume": "claim"}}, "one replica only"),
    ({"cache": {"volume": "claim", "existingClaim": "mine"}}, "one replica only"),
    ({"extraVolumeMounts": [{"name": "shared", "mountPath": "/var/cache/darkserver"}]}, "a cache of its own"),
    ({"extraVolumeMounts": [{"name": "shared", "mountPath": "/var/cache/darkserver/files"}]}, "a cache of its own"),
    ({"cache": {"existingClaim": "mine"}}, "cache.volume is not claim"),
    ({"cache": {"size": "12Gi"}}, "cache.volumeSize must be larger"),
    ({"cache": {"size": "1Ti", "volumeSize": "1023Gi"}}, "cache.volumeSize must be larger"),
    ({"preStopSeconds": 60}, "must be larger than preStopSeconds"),
]

# Values that the schema refuses, and the path of the error.
OUTSIDE_SCHEMA = [
    ({"replicas": 3}, ""),
    ({"database": {"password": "x"}}, "database"),
    ({"database": {"readerUrl": "postgres://u:p@h/d"}}, "database.readerUrl"),
    ({"database": {"readerUrl": "mysql://host/db"}}, "database.readerUrl"),
    ({"gateway": {"upstream": []}}, "gateway"),
    ({"gateway": {"federation": {"upstreams": []}}}, "gateway.federation"),
    ({"gateway": {"upstreams": "https://a.example.org"}}, "gateway.upstreams"),
    ({"gateway": {"upstreams": ["https://a.example.org"]}}, "gateway.upstreams.0"),
    ({"gateway": {"upstreams": [{"url": "https://a.example.org"}]}}, "gateway.upstreams.0"),
    ({"gateway": {"upstreams": [{"name": "a", "url": "https://user:pass@a.example.org"}]}},
     "gateway.upstreams.0.url"),
    ({"gateway": {"upstreams": [{"name": "a", "url": "https://a.example.org", "headers": {"X-Token": "t"}}]}},
     "gateway.upstreams.0.headers"),
    ({"gateway": {"upstreams": [{"name": "a", "url": "https://a.example.org", "headers": [{"name": "X-Token"}]}]}},
     "gateway.upstreams.0.headers.0"),
    ({"gateway": {"federation": {"prefer": "proxy"}}}, "gateway.federation.prefer"),
    ({"gateway": {"federation": {"unavailable": 404}}}, "gateway.federation.unavailable"),
    ({"gateway": {"request": {"budget": "4"}}}, "gateway.request.budget"),
    ({"gateway": {"federation": {"maxHops": 0}}}, "gateway.federation.maxHops"),
    ({"gateway": {"federation": {"redirectHosts": ["a.example.org"]}}}, "gateway.federation"),
    ({"gateway": {"stores": {"redirectHosts": []}}}, "gateway"),
    ({"gateway": {"publicUrl": "https://a.example.org/?q"}}, "gateway.publicUrl"),
    ({"gateway": {"index": {"ttl": "1s"}}}, "gateway.index"),
    ({"gateway": {"index": {"foundTtl": 60}}}, "gateway.index.foundTtl"),
    ({"gateway": {"index": {"foundTtl": None}}}, "gateway.index"),
    ({"gateway": {"index": {"absentTtl": "3s"}}}, "gateway.index.absentTtl"),
    ({"gateway": {"index": {"absentTtl": "2001ms"}}}, "gateway.index.absentTtl"),
    ({"gateway": {"index": {"maxEntries": "many"}}}, "gateway.index.maxEntries"),
    ({"gateway": {"index": {"filter": "no"}}}, "gateway.index.filter"),
    ({"gateway": {"trustedProxies": ["10.0.0.1"]}}, "gateway.trustedProxies.0"),
    ({"gateway": {"extraEnv": [{"name": "DARKSERVER_DATABASE", "value": READER}]}}, "gateway.extraEnv.0.name"),
    ({"indexer": {"check": {"budget": "10"}}}, "indexer.check.budget"),
    ({"indexer": {"requestsPerHost": 256}}, "indexer.requestsPerHost"),
    ({"indexer": {"stores": [{"name": "a", "tier": "mirror"}]}}, "indexer.stores.0"),
    ({"indexer": {"stores": [{"name": "a", "tier": "cloud", "url": "https://h"}]}}, "indexer.stores.0.tier"),
    ({"indexer": {"repositories": [{"name": "a", "url": "ftp://h"}]}}, "indexer.repositories.0.url"),
    ({"indexer": {"keys": {"indexer.toml": "x"}}}, "indexer.keys"),
    ({"indexer": {"mode": "both"}}, "indexer.mode"),
    ({"indexer": {"listen": {"replicas": 0}}}, "indexer.listen.replicas"),
    ({"indexer": {"listen": {"refreshInterval": "0s"}}}, "indexer.listen.refreshInterval"),
    ({"indexer": {"koji": [{"name": "k"}]}}, "indexer.koji.0"),
    ({"indexer": {"koji": [{**KOJI, "name": "a/b"}]}}, "indexer.koji.0.name"),
    ({"indexer": {"messages": [{"name": "../q", "url": "amqps://h"}]}}, "indexer.messages.0.name"),
    ({"indexer": {"messages": [{"name": "q", "url": "https://h"}]}}, "indexer.messages.0.url"),
    ({"indexer": {"messages": [{**QUEUE, "certFile": "/c"}]}}, "indexer.messages.0"),
    ({"indexer": {"hooks": {"rate": 0}}}, "indexer.hooks.rate"),
    ({"indexer": {"hooks": {"token": "secret"}}}, "indexer.hooks"),
    ({"indexer": {"hooks": {"maxUpload": "2GB"}}}, "indexer.hooks.maxUpload"),
    ({"indexer": {"service": {"tlsPort": 1}}}, "indexer.service"),
    ({"indexer": {"extraEnv": [{"name": "DARKSERVER_DATABASE", "value": READER}]}}, "indexer.extraEnv.0.name"),
    ({"cache": {"size": "10GB"}}, "cache.size"),
    ({"cache": {"volume": "hostPath"}}, "cache.volume"),
    ({"replicaCount": "2"}, "replicaCount"),
    ({"security": {"runAsUser": 0}}, "security.runAsUser"),
    ({"security": {"privileged": True}}, "security"),
    ({"image": {"digest": "sha256:123"}}, "image.digest"),
    ({"ingress": {"hosts": [{"host": "a.example.org"}]}}, "ingress.hosts.0"),
    ({"probes": {"liveness": {"path": "/"}}}, "probes.liveness"),
    ({"metrics": {"enabled": True}}, "metrics"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "podDisruptionBudget.maxUnavailable"),
]


def schema_is_strict(schema, where="values"):
    """Returns the objects of the schema that admit other properties than they name."""
    loose = []
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict) and "type" in schema \
                and schema.get("additionalProperties") is not False:
            loose.append(where)
        for key, value in schema.items():
            loose += schema_is_strict(value, f"{where}.{key}")
    return loose


def leaves(values, prefix=""):
    """Yields the paths of all values. Maps with keys are descended into."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def schema_paths(schema, node, prefix=""):
    """Yields the paths that the schema names, and whether keys below them are free."""
    for key, value in node.get("properties", {}).items():
        if "$ref" in value:
            value = schema["definitions"][value["$ref"].rsplit("/", 1)[1]]
        yield prefix + key, "object" == value.get("type") and "properties" not in value
        yield from schema_paths(schema, value, f"{prefix}{key}.")


def ancestors(path):
    return [path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)]


def check_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    try:
        jsonschema.Draft7Validator.check_schema(schema)
        check("schema: is one", True)
    except jsonschema.SchemaError as error:
        check("schema: is one", False, error.message)
    check("schema: strict everywhere", not schema_is_strict(schema), schema_is_strict(schema))
    validator = jsonschema.Draft7Validator(schema)

    def errors(values):
        return {".".join(map(str, error.absolute_path)): error.message for error in validator.iter_errors(values)}

    check("schema: takes the defaults", not errors(merged({})), errors(merged({})))
    for file in VALUES:
        wrong = errors(merged(yaml.safe_load(file.read_text())))
        check(f"schema: takes {file.name}", not wrong, wrong)
    for values, where in OUTSIDE_SCHEMA:
        wrong = errors(merged(values))
        check(f"schema: refuses {json.dumps(values)}", list(wrong) == [where], wrong)

    known = list(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    named = dict(schema_paths(schema, schema))
    unnamed = [path for path in known if path not in named and not any(named.get(up) for up in ancestors(path))]
    check("schema: names every value", not unnamed, unnamed)
    readme = (CHART / "README.md").read_text()
    rows = set(re.findall(r"^\| `([A-Za-z.]+)`", readme, re.MULTILINE))
    missing = [path for path in known if not rows & {path, *ancestors(path)}]
    check("README: lists every value", not missing, missing)
    check("README: lists no value that does not exist", rows <= set(named), rows - set(named))


# --- all of it -------------------------------------------------------------------------------------------------------


def check_with(render, extra):
    check(f"{render.name}: every file of values has its checks", {file.stem for file in VALUES} == set(SPECIAL))
    check(f"{render.name}: schemas of several versions, both sides of 1.30",
          {25, 29, 30} < {minor(v) for v in KUBERNETES})
    for file in VALUES:
        values = merged(yaml.safe_load(file.read_text()))
        for kube in KUBERNETES:
            label = f"{render.name}: {file.name} for Kubernetes {kube}"
            try:
                text = render(file, kube=kube)
                found = objects(text)
            except (Refused, yaml.YAMLError, ValueError) as error:
                check(label, False, error)
                continue
            wrong = validate(found, kube)
            check(f"{label}: valid", not wrong, wrong)
            sleeps = "lifecycle" in gateway_container(found)
            check(f"{label}: preStop where Kubernetes has it",
                  sleeps == (minor(kube) >= 30 and values["preStopSeconds"] > 0))
            if minor(kube) == 30:
                common(label, text, found, values)
                SPECIAL[file.stem](found)

    # The pods restart when the configuration changes, and only then.
    base = CHART / "test" / "values" / "default.yaml"

    def checksum(values):
        found = objects(render(base, extra(values)))
        return gateway_deployment(found)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    before = checksum({})
    for values in ({"gateway": {"upstreams": [{"name": "a", "url": "https://a.example.org"}]}},
                   {"gateway": {"trustedProxies": ["10.0.0.0/8"]}}, {"gateway": {"request": {"budget": "3s"}}},
                   {"gateway": {"index": {"foundTtl": "1s"}}}, {"gateway": {"relay": {"maxConcurrent": 2}}}):
        check(f"{render.name}: checksum follows {json.dumps(values)}", checksum(values) != before)
    for values in ({"replicaCount": 5}, {"service": {"port": 80}},
                   {"database": {"readerUrl": READER.replace("S3cret", "other")}}):
        check(f"{render.name}: checksum ignores {json.dumps(values)}", checksum(values) == before)

    # The default values alone are refused with the missing value.
    try:
        render()
        check(f"{render.name}: the database is required", False)
    except Refused as error:
        check(f"{render.name}: the database is required", "database.readerUrl is missing" in str(error), error)
    for values, words in CONTRADICTIONS:
        name = f"{render.name}: refuses {json.dumps(values)}"
        try:
            render(base, extra(values))
            check(name, False, "it was rendered")
        except Refused as error:
            check(name, words in str(error), error)
            check(f"{name} without telling a password", not leaks(str(error)))


def main():
    renderers = []
    if os.environ.get("RENDER"):
        renderers.append(Go(os.environ["RENDER"]))
    if shutil.which("helm"):
        renderers.append(Helm())
    check("something renders the chart", renderers)

    with tempfile.TemporaryDirectory() as directory:
        extra = Extra(directory)
        check_schema()
        check_gateway(renderers[0], directory)
        check_indexer(renderers[0], directory)
        for render in renderers:
            check_with(render, extra)

        if isinstance(renderers[0], Go):
            go = renderers[0]
            for file in VALUES:
                check(f"{file.name}: numbers of either type", go(file) == go(file, numbers="text"))
                notes = go(file, show="notes")
                check(f"{file.name}: notes without a password", notes.strip() and not leaks(notes))
        if isinstance(renderers[-1], Helm):
            helm = renderers[-1]
            for file in VALUES:
                try:
                    print(program("helm", "lint", CHART, "-f", file).strip())
                    check(f"helm lint with {file.name}", True)
                except Refused as error:
                    check(f"helm lint with {file.name}", False, error)
                if len(renderers) == 2:
                    check(f"{file.name}: helm and render.go agree", objects(helm(file)) == objects(renderers[0](file)))
            for values, _ in OUTSIDE_SCHEMA:
                try:
                    helm(CHART / "test" / "values" / "default.yaml", extra(values))
                    check(f"helm: refuses {json.dumps(values)}", False)
                except Refused as error:
                    check(f"helm: refuses {json.dumps(values)}", "schema" in str(error), error)
        else:
            print("helm is not installed: rendered by render.go alone")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # a broken chart can break a check: a failure, not a crash without a count
        import traceback

        traceback.print_exc()
        check("the checks ran to their end", False, error)
    print(f"Kubernetes schemas: {', '.join(KUBERNETES)}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)
