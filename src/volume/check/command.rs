//! A check by somebody else's program. Tells what its exit code says apart from that it could not be run.

use std::path::Path;
use std::time::Duration;

use super::Verdict;
use crate::base::cancel::Cancel;
use crate::base::process::{self, CommandSpec, Finished};

/// How much of the output goes into a message.
const OUTPUT_TOLD: usize = 500;

pub(super) fn run(
    volume: &Path,
    argv: &[String],
    corrupt_codes: Option<&[i32]>,
    limit: Duration,
    cancel: &Cancel,
) -> Verdict {
    let Some(path) = volume.to_str() else {
        return Verdict::Unknown(format!("{} is not UTF-8 and cannot be handed over", volume.display()));
    };
    let spec = CommandSpec {
        argv: argv.to_vec(),
        env: vec![("VOLKEEP_VOLUME".to_owned(), path.to_owned())],
        directory: Some(volume.to_owned()),
        timeout: limit,
        ..CommandSpec::default()
    };
    match process::run_watched(&spec, cancel, &mut |_| {}) {
        Ok(Finished { code: 0, .. }) => Verdict::Good,
        Ok(finished) => {
            let damaged = match corrupt_codes {
                Some(codes) => codes.contains(&finished.code),
                None => (1..=125).contains(&finished.code),
            };
            let text = describe(&finished);
            if damaged { Verdict::Damaged(text) } else { Verdict::Unknown(text) }
        }
        Err(error) => Verdict::Unknown(error.to_string()),
    }
}

fn describe(finished: &Finished) -> String {
    let told: String = finished.output.chars().take(OUTPUT_TOLD).collect();
    match told.is_empty() {
        true => format!("exit code {}", finished.code),
        false => format!("exit code {}: {told}", finished.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, corrupt_codes: Option<&[i32]>) -> Verdict {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("here"), "").unwrap();
        run(dir.path(), &argv, corrupt_codes, Duration::from_secs(60), &Cancel::new())
    }

    #[test]
    fn the_exit_code_decides() {
        assert!(matches!(sh("test -e here && test -e \"$VOLKEEP_VOLUME/here\"", None), Verdict::Good));
        assert!(matches!(sh("echo broken; exit 1", None), Verdict::Damaged(text) if text.contains("broken")));
        assert!(matches!(sh("exit 1", Some(&[2, 3])), Verdict::Unknown(_)));
        assert!(matches!(sh("exit 3", Some(&[2, 3])), Verdict::Damaged(_)));
    }

    #[test]
    fn what_was_killed_or_could_not_run_has_found_nothing() {
        assert!(matches!(sh("kill -9 $$", None), Verdict::Unknown(_)));
        assert!(matches!(sh("no-such-program-here", None), Verdict::Unknown(_)));
        let argv = ["/no/such/program".to_owned()];
        assert!(matches!(
            run(Path::new("/"), &argv, None, Duration::from_secs(1), &Cancel::new()),
            Verdict::Unknown(_)
        ));
        let argv = ["sh", "-c", "read x < /dev/zero; sleep 600"].map(str::to_owned);
        assert!(matches!(
            run(Path::new("/"), &argv, None, Duration::from_millis(20), &Cancel::new()),
            Verdict::Unknown(_)
        ));
    }
}
