//! The metrics, made from the status when somebody asks: nothing is counted here, and nothing kept between two
//! requests. Must not know who asks.

mod families;
mod jobs;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::base::timestamp::Timestamp;
use crate::sidecar::status::Status;

/// In which of its two forms the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// The older one, which every tool reads.
    Prometheus,
}

/// One metric and where its figures come from.
pub struct Family {
    /// Without the `_total` of a counter.
    base: &'static str,
    kind: Kind,
    help: &'static str,
    samples: fn(&Status) -> Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
}

struct Sample {
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Format {
    /// By the `Accept` of the request.
    pub fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub fn render(status: Arc<Status>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(View(status)));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(match format {
        Format::OpenMetrics => written,
        Format::Prometheus => in_the_older_form(&written),
    })
}

/// Every metric there can be: its name as it is asked for, what it is, and what it says.
pub fn all() -> impl Iterator<Item = (String, Kind, &'static str)> {
    families().map(|family| (family.name(), family.kind, family.help))
}

fn families() -> impl Iterator<Item = &'static Family> {
    families::FAMILIES.iter().chain(jobs::FAMILIES)
}

#[derive(Debug)]
struct View(Arc<Status>);

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in families() {
            let samples = (family.samples)(&self.0);
            if samples.is_empty() {
                continue;
            }
            let kind = match family.kind {
                Kind::Gauge => ConstGauge::<f64>::TYPE,
                Kind::Counter => ConstCounter::<f64>::TYPE,
            };
            let mut metric = encoder.encode_descriptor(family.base, family.help, None, kind)?;
            for Sample { labels, value } in &samples {
                // A metric encoder is used up by a sample without labels: there is only one of these.
                if labels.is_empty() {
                    family.encode(*value, metric)?;
                    break;
                }
                family.encode(*value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Family {
    const fn gauge(base: &'static str, help: &'static str, samples: fn(&Status) -> Vec<Sample>) -> Self {
        Self { base, kind: Kind::Gauge, help, samples }
    }

    const fn counter(base: &'static str, help: &'static str, samples: fn(&Status) -> Vec<Sample>) -> Self {
        Self { base, kind: Kind::Counter, help, samples }
    }

    fn encode(&self, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.kind {
            Kind::Gauge => ConstGauge::new(value).encode(encoder),
            Kind::Counter => ConstCounter::new(value).encode(encoder),
        }
    }

    fn name(&self) -> String {
        match self.kind {
            Kind::Gauge => self.base.to_owned(),
            Kind::Counter => format!("{}_total", self.base),
        }
    }
}

impl Sample {
    fn alone(value: f64) -> Vec<Self> {
        vec![Self::new(Vec::new(), value)]
    }

    fn new(labels: Vec<(&'static str, String)>, value: f64) -> Self {
        Self { labels, value }
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("base", &self.base).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Seconds since 1970. A float holds them to the microsecond for some centuries.
#[expect(clippy::cast_precision_loss, reason = "a fraction of a microsecond is of no interest")]
fn seconds(time: Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanoseconds) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB, and near enough above")]
fn number(value: u64) -> f64 {
    value as f64
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// There a counter bears its whole name in its description too, and no line marks the end.
fn in_the_older_form(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
        // The description stands before the line that tells a counter.
        let named = counter(line).or_else(|| {
            let name = lines.peek().copied().and_then(counter)?;
            line.strip_prefix("# HELP ")?.starts_with(&format!("{name} ")).then_some(name)
        });
        match named {
            _ if line == "# EOF" => continue,
            Some(name) => written.push_str(&line.replacen(&name, &format!("{name}_total"), 1)),
            None => written.push_str(line),
        }
        written.push('\n');
    }
    written
}

#[cfg(test)]
mod tests;
