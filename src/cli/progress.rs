//! Shows counters while work runs: a bar on a terminal, a log line every five seconds elsewhere, so that short
//! runs print nothing.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::progress::{Progress, Shown};
use crate::base::units::ByteSize;
use crate::cli::logging::LogTarget;
use crate::cli::render::plural;

const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Bar,
    Lines,
    Nothing,
}

pub fn show<T>(
    what: &str,
    progress: &Progress,
    style: Style,
    log: &LogTarget,
    work: impl FnOnce() -> T,
) -> T {
    match style {
        Style::Nothing => work(),
        Style::Lines => {
            while_running(LINE_EVERY, || tracing::info!("{}", line(what, progress.shown())), work)
        }
        Style::Bar => {
            let bar = ProgressBar::new_spinner();
            log.set_bar(Some(bar.clone()));
            let result = while_running(BAR_EVERY, || draw(&bar, what, progress.shown()), work);
            log.set_bar(None);
            bar.finish_and_clear();
            result
        }
    }
}

/// Calls `tick` on a helper thread, the first time after `every`. The thread ends with `work`, at once; without
/// threads to spare the work is done all the same.
fn while_running<T>(every: Duration, mut tick: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    let (running, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let shower = thread::Builder::new().name("progress".to_owned());
        let _ = shower.spawn_scoped(scope, move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(every) {
                tick();
            }
        });
        let result = work();
        drop(running);
        result
    })
}

fn line(what: &str, shown: Shown) -> String {
    let entries = plural(shown.entries, "entry", "entries");
    match percent(shown) {
        Some(percent) => format!(
            "{what}: {percent}% ({entries}, {} of {})",
            ByteSize(shown.bytes),
            ByteSize(shown.total_bytes)
        ),
        None => format!("{what}: {entries}, {}", ByteSize(shown.bytes)),
    }
}

fn percent(shown: Shown) -> Option<u64> {
    let part = u128::from(shown.bytes) * 100;
    let percent = part.checked_div(u128::from(shown.total_bytes))?;
    u64::try_from(percent.min(100)).ok()
}

fn draw(bar: &ProgressBar, what: &str, shown: Shown) {
    let template = if shown.total_bytes > 0 {
        bar.set_length(shown.total_bytes);
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{spinner} {msg} {bytes} {bytes_per_sec}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(format!("{what}: {}", plural(shown.entries, "entry", "entries")));
    bar.set_position(shown.bytes);
    bar.tick();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_while_progress_is_shown_and_ends_it() {
        let (seen, shown) = mpsc::channel();
        let result = while_running(
            Duration::from_millis(1),
            || seen.send(()).unwrap_or_default(),
            || shown.recv().map(|()| 7),
        );
        assert_eq!(result, Ok(7));
    }

    #[test]
    fn short_work_shows_nothing() {
        let mut ticks = 0;
        assert_eq!(while_running(Duration::from_secs(3600), || ticks += 1, || 7), 7);
        assert_eq!(ticks, 0);
    }

    #[test]
    fn a_line_says_how_far_the_work_is() {
        let progress = Progress::default();
        progress.add(1, 1 << 20);
        assert_eq!(line("backing up", progress.shown()), "backing up: 1 entry, 1MiB");
        progress.expect(1200, 4 << 20);
        progress.add(1199, 1 << 20);
        assert_eq!(line("restoring", progress.shown()), "restoring: 50% (1,200 entries, 2MiB of 4MiB)");
    }
}
