use std::collections::BTreeSet;

use super::*;
use crate::sidecar::sample;

fn rendered(format: Format) -> String {
    render(Arc::new(sample::status()), format).unwrap()
}

#[test]
fn figures_come_from_the_status() {
    let text = rendered(Format::Prometheus);
    for line in [
        "volkeep_ready 0.0",
        "volkeep_sidecar_stage{stage=\"working\"} 1.0",
        "volkeep_volume_state{state=\"healthy\"} 1.0",
        "volkeep_lease_epoch{repository=\"s3://bucket/wiki\"} 7.0",
        "volkeep_job_runs_total{job_name=\"check\"} 1.0",
        "volkeep_job_consecutive_failures{job_name=\"check\"} 1.0",
        "volkeep_job_last_run_outcome{job_name=\"check\",outcome=\"failed\"} 1.0",
        "volkeep_job_last_success_timestamp_seconds{job_name=\"backup\"} 1790000000.0",
        "volkeep_backup_files{job_name=\"backup\"} 1000.0",
        "volkeep_repository_snapshots 12.0",
        "volkeep_drill_snapshot_timestamp_seconds{repository=\"s3://bucket/wiki\"} 1789000000.0",
        "volkeep_job_frozen{job_name=\"backup\"} 1.0",
        "volkeep_configuration_accepted 0.0",
        "volkeep_notices_failed_total 2.0",
    ] {
        assert!(text.lines().any(|own| own == line), "no `{line}` in\n{text}");
    }
    assert!(!text.contains("volkeep_job_last_run_timestamp_seconds{job_name=\"<vacuum>\"}"), "it never ran");
}

#[test]
fn label_values_are_escaped() {
    let text = rendered(Format::Prometheus);
    assert!(text.contains(r#"volkeep_lease_held{repository="file:///back\"up\\s\n"} 0.0"#), "{text}");
}

#[test]
fn both_forms_name_a_counter_as_they_should() {
    let newer = rendered(Format::OpenMetrics);
    assert!(newer.contains("# TYPE volkeep_job_runs counter\n") && newer.ends_with("# EOF\n"), "{newer}");
    let older = rendered(Format::Prometheus);
    assert!(older.contains("# HELP volkeep_job_runs_total Runs"), "{older}");
    assert!(older.contains("# TYPE volkeep_job_runs_total counter\n") && !older.contains("# EOF"), "{older}");
    assert_eq!(Format::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"), Format::OpenMetrics);
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
}

#[test]
fn every_metric_there_can_be_is_in_the_sample_or_of_prune() {
    let text = rendered(Format::Prometheus);
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for (name, ..) in all() {
        assert!(shown.contains(name.as_str()) || name.starts_with("volkeep_prune_"), "{name} was not shown");
    }
}

#[test]
fn names_are_unique_and_all_begin_alike() {
    let names: Vec<String> = all().map(|(name, ..)| name).collect();
    let set: BTreeSet<&String> = names.iter().collect();
    assert_eq!(set.len(), names.len());
    assert!(names.iter().all(|name| name.starts_with("volkeep_")));
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let page = include_str!("../../../docs/metrics.md");
    let listed: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `volkeep_").and(line.split('`').nth(1)))
        .collect();
    let names: Vec<String> = all().map(|(name, ..)| name).collect();
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(listed, known);
}
