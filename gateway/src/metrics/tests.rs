//! Every metric is documented, and documents name metrics that exist.

use std::collections::HashMap;

use super::*;

/// Creates a series of each family: a family without one is not gathered.
fn create_series() {
    METRICS.requests.with_label_values(&["debuginfo", "200"]).inc();
    METRICS.request_duration.with_label_values(&["debuginfo"]).observe(0.1);
    METRICS.store_requests.with_label_values(&["local", "found"]).inc();
    METRICS.upstream_requests.with_label_values(&["u.example", "found"]).inc();
    METRICS.upstream_request_duration.with_label_values(&["u.example"]).observe(0.1);
    METRICS.upstream_up.with_label_values(&["u.example"]).set(1);
    METRICS.upstream_breaker.with_label_values(&["u.example", "closed"]).set(1);
    METRICS.upstream_probes.with_label_values(&["u.example", "answered"]).inc();
    for counters in
        [&METRICS.upstream_hedges, &METRICS.upstream_junk, &METRICS.upstream_resumes, &METRICS.upstream_received_bytes]
    {
        counters.with_label_values(&["u.example"]).inc();
    }
}

#[test]
fn metrics_are_rendered_with_type_and_help() {
    METRICS.requests.with_label_values(&["debuginfo", "200"]).inc();
    let text = String::from_utf8(METRICS.render().unwrap()).unwrap();
    assert!(text.contains("# TYPE gateway_requests_total counter"), "{text}");
    assert!(text.contains("# HELP gateway_build_info Version"), "{text}");
    assert!(text.contains("# TYPE gateway_index_query_duration_seconds histogram"), "{text}");
}

#[test]
fn every_metric_is_documented() {
    let docs = include_str!("../../../docs/metrics.md");
    create_series();
    assert_eq!(METRICS.families.gather().len(), docs.matches("| `gateway_").count(), "as many families as rows");
    for family in METRICS.families.gather() {
        assert!(docs.contains(&format!("`{}`", family.name())), "{} is missing in docs/metrics.md", family.name());
        assert!(docs.contains(family.help()), "HELP of {} differs from docs/metrics.md", family.name());
    }
}

/// A name in a document is a family, perhaps with a suffix of a histogram; its labels in braces are the family's.
#[test]
fn documents_name_existing_metrics_and_labels() {
    create_series();
    let families = METRICS.families.gather();
    let labels: HashMap<&str, Vec<&str>> = families
        .iter()
        .map(|family| (family.name(), family.get_metric()[0].get_label().iter().map(|pair| pair.name()).collect()))
        .collect();
    for document in [include_str!("../../../docs/metrics.md"), include_str!("../../../docs/operations.md")] {
        for (start, _) in document.match_indices("gateway_") {
            let rest = &document[start..];
            let end = rest.find(|character: char| !character.is_ascii_lowercase() && character != '_').unwrap();
            let (name, rest) = rest.split_at(end);
            let family = ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            let labels = labels.get(family).unwrap_or_else(|| panic!("{name} is no metric"));
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            for matcher in selector.into_iter().flat_map(|(matchers, _)| matchers.split(',')) {
                let label = matcher.split(['=', '!']).next().unwrap();
                assert!(labels.contains(&label), "{name} has no label {label}");
            }
        }
    }
}
