//! Says when a volume is none that git is good at.

use crate::base::units::ByteSize;
use crate::repository::BackupReport;

/// Git and its hosts become slow or say no somewhere beyond these.
const MANY_FILES: u64 = 200_000;
const LARGE: u64 = 5 << 30;
/// Stored by one backup, which stays in the history.
const MUCH_CHURN: u64 = 100 << 20;

pub(super) fn warn(location: &str, report: &BackupReport) {
    let totals = report.totals;
    let round = |bytes: u64| ByteSize(bytes >> 20 << 20).to_string();
    if totals.files > MANY_FILES || totals.bytes > LARGE {
        tracing::warn!(
            repository = location,
            files = totals.files,
            bytes = round(totals.bytes),
            "this volume is large for git; s3:// or file:// store it faster and smaller"
        );
    }
    if report.stored_bytes > MUCH_CHURN {
        tracing::warn!(
            repository = location,
            stored = round(report.stored_bytes),
            of = round(totals.bytes),
            "much of this volume changed, and git keeps all of it in its history; exclude what changes often, or \
             use s3:// or file://"
        );
    }
}
