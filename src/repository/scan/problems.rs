//! Files that could not be read as they should.

use crate::snapshot::RelativePath;

/// Paths named in a report; the count goes on.
const NAMED: usize = 100;

#[derive(Debug, Default)]
pub struct Problems {
    pub named: Vec<String>,
    pub count: u64,
}

impl Problems {
    pub fn add(&mut self, path: &RelativePath, reason: &str) {
        self.count += 1;
        tracing::warn!(%path, reason, "not backed up as it should be");
        if self.named.len() < NAMED {
            self.named.push(format!("{path}: {reason}"));
        }
    }
}
