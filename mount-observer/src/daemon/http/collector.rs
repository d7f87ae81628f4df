//! The prometheus crate's view of a snapshot.

use std::sync::Arc;

use prometheus::{
    core::{Collector, Desc},
    proto::{self, MetricFamily, MetricType},
};

use crate::{
    render::metrics::{
        Family, Histogram, Kind, METRICS, Metric, SUPERBLOCK_LABELS, SelfReport, Series, Value,
        families,
    },
    snapshot::Snapshot,
};

/// Collects one snapshot, once.
pub(super) struct SnapshotCollector {
    snapshot: Arc<Snapshot>,
    superblocks_max: usize,
    report: SelfReport,
    descriptions: Vec<Desc>,
}

impl SnapshotCollector {
    pub(super) fn new(snapshot: Arc<Snapshot>, superblocks_max: usize, report: SelfReport) -> Self {
        Self {
            snapshot,
            superblocks_max,
            report,
            descriptions: METRICS.iter().filter_map(description).collect(),
        }
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        families(&self.snapshot, self.superblocks_max, &self.report)
            .into_iter()
            .map(family)
            .collect()
    }
}

/// `None` for a name or label that the format does not allow: a test holds that there is none.
fn description(metric: &Metric) -> Option<Desc> {
    let own: &[&str] = if metric.is_per_superblock {
        &SUPERBLOCK_LABELS
    } else {
        &[]
    };
    let labels = own
        .iter()
        .chain(metric.labels)
        .map(|&label| label.to_owned())
        .collect();
    // The empty array becomes the empty map of constant labels.
    Desc::new(
        metric.name.to_owned(),
        metric.help.to_owned(),
        labels,
        [].into(),
    )
    .ok()
}

fn family(family: Family) -> MetricFamily {
    let kind = family.metric.kind;
    let mut out = MetricFamily::default();
    out.set_name(family.metric.name.to_owned());
    out.set_help(family.metric.help.to_owned());
    out.set_field_type(match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    out.set_metric(
        family
            .series
            .into_iter()
            .map(|series| metric(kind, series))
            .collect(),
    );
    out
}

fn metric(kind: Kind, series: Series) -> proto::Metric {
    let labels = series.labels.into_iter().map(|(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value);
        label
    });
    let mut metric = proto::Metric::from_label(labels.collect());
    match series.value {
        Value::Number(number) if kind == Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(number);
            metric.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(number);
            metric.set_gauge(gauge);
        }
        Value::Histogram(values) => metric.set_histogram(histogram(&values)),
    }
    metric
}

fn histogram(values: &Histogram) -> proto::Histogram {
    let buckets = values.buckets.iter().map(|&(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(values.count);
    histogram.set_sample_sum(values.sum);
    histogram
}
