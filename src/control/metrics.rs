//! Prometheus' text format (version 0.0.4): what a scrape is answered.

use std::fmt::{Display, Write};

/// Of what kind the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up while the process lives.
    Counter,
    /// Counts what kept to each of several bounds.
    Histogram,
}

/// A text that grows by families of values. Each family is given once.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The only value of a family without labels.
    pub fn value(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help).add("", &[], value);
    }

    /// Begins a family; its values are added to what is returned.
    pub fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { text: self, name }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        // Writing into memory does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A family that has begun.
pub struct Family<'a> {
    text: &'a mut Exposition,
    name: &'a str,
}

impl Family<'_> {
    /// Adds a value. Labels are words of ours: methods, operations, versions; nothing that needs to be
    /// escaped, and never a name of a file or of a user.
    pub fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.add("", labels, value);
    }

    /// Adds what a histogram says of one label: upper bounds with how many kept to each, how many there
    /// were, and what they sum up to.
    pub fn histogram(&mut self, label: (&str, &str), bounds: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, within) in bounds {
            self.add("_bucket", &[label, ("le", &bound.to_string())], within);
        }
        self.add("_bucket", &[label, ("le", "+Inf")], count);
        self.add("_sum", &[label], sum);
        self.add("_count", &[label], count);
    }

    fn add(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        self.text.line(format_args!("{}{suffix}{labels} {value}", self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let mut text = Exposition::default();
        text.value(Kind::Gauge, "ncfs_online", "1 while it answers", 1);
        let mut family = text.family(Kind::Counter, "ncfs_asked_total", "Asked");
        family.labelled(&[("method", "GET"), ("status", "2xx")], 3);
        let mut family = text.family(Kind::Histogram, "ncfs_took_seconds", "Took");
        family.histogram(("method", "GET"), &[(0.5, 1), (1.0, 2)], 3, 2.25);
        assert_eq!(
            text.finish(),
            "# HELP ncfs_online 1 while it answers\n\
             # TYPE ncfs_online gauge\n\
             ncfs_online 1\n\
             # HELP ncfs_asked_total Asked\n\
             # TYPE ncfs_asked_total counter\n\
             ncfs_asked_total{method=\"GET\",status=\"2xx\"} 3\n\
             # HELP ncfs_took_seconds Took\n\
             # TYPE ncfs_took_seconds histogram\n\
             ncfs_took_seconds_bucket{method=\"GET\",le=\"0.5\"} 1\n\
             ncfs_took_seconds_bucket{method=\"GET\",le=\"1\"} 2\n\
             ncfs_took_seconds_bucket{method=\"GET\",le=\"+Inf\"} 3\n\
             ncfs_took_seconds_sum{method=\"GET\"} 2.25\n\
             ncfs_took_seconds_count{method=\"GET\"} 3\n"
        );
    }
}
