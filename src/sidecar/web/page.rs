//! The status page: plain HTML made on the server, which loads itself again and needs no script. Every text that
//! comes from elsewhere is escaped.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::base::timestamp::Timestamp;
use crate::base::units::{ByteSize, Span};
use crate::sidecar::record::{Outcome, Run};
use crate::sidecar::status::{JobStatus, Stage, Status};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta http-equiv=\"refresh\" content=\"10\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";

const STYLE: &str = "<style>\
    :root{color-scheme:light dark}\
    body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;vertical-align:top;padding:.3em .8em .3em 0;border-bottom:1px solid #8884}\
    .good{color:#2a8c4a}.bad{color:#d03b3b}.note{opacity:.7}code{font-size:.9em}\
    </style>";

pub(super) fn render(status: &Status, now: Timestamp) -> String {
    let mut html = String::with_capacity(8 << 10);
    // Writing to a string cannot fail.
    let _ = write(&mut html, status, now);
    html
}

fn write(html: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    let identity = Escaped(&status.identity);
    write!(html, "{HEAD}<title>{identity}: {}</title>{STYLE}</head><body>", verdict(status))?;
    let class = if status.not_ready.is_empty() { "good" } else { "bad" };
    write!(html, "<h1>{identity} <span class=\"{class}\">{}</span></h1>", verdict(status))?;
    write!(
        html,
        "<p>volkeep {}, {} since {}. The volume <code>{}</code> is {}.</p>",
        Escaped(status.version),
        status.stage.name().replace('_', " "),
        When(status.started, now),
        Escaped(&status.volume),
        Escaped(status.state)
    )?;
    warnings(html, status, now)?;
    write!(html, "<h2>Jobs</h2><table><tr><th>job<th>last run<th>last success<th>figures<th>next</tr>")?;
    for job in &status.jobs {
        row(html, job, now)?;
    }
    write!(html, "</table>")?;
    repositories(html, status, now)?;
    if let Some(run) = &status.init.last {
        write!(html, "<h2>Init</h2><p>{}</p>", Ended(run, now))?;
    }
    writeln!(
        html,
        "<p class=\"note\">Loads itself again every 10 s. <a href=\"/status\">JSON</a> \
         <a href=\"/metrics\">metrics</a></p></body></html>"
    )
}

fn verdict(status: &Status) -> &'static str {
    match status.stage {
        Stage::StandingBy => "stands by",
        Stage::Draining => "is ending",
        Stage::Working if status.not_ready.is_empty() => "is ready",
        Stage::Working => "is not ready",
    }
}

fn warnings(html: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    let mut lines: Vec<String> = status.not_ready.clone();
    lines.extend(
        status.refused_configuration.iter().map(|why| format!("the new configuration was refused: {why}")),
    );
    lines.extend(
        status
            .frozen
            .iter()
            .map(|frozen| format!("{} holds the app frozen since {}", frozen.job, frozen.since.to_rfc3339())),
    );
    let unsaved =
        |job: &JobStatus| Some(format!("the record of {} is not saved: {}", job.name, job.unsaved.as_ref()?));
    lines.extend(status.jobs.iter().filter_map(unsaved));
    let lost = status.notices.failed + status.notices.dropped;
    if lost > 0 {
        lines.push(format!("{lost} notices did not arrive since {}", When(status.started, now)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    write!(html, "<ul class=\"bad\">")?;
    for line in lines {
        write!(html, "<li>{}</li>", Escaped(&line))?;
    }
    write!(html, "</ul>")
}

fn row(html: &mut String, job: &JobStatus, now: Timestamp) -> fmt::Result {
    write!(html, "<tr><td><b>{}</b>", Escaped(&job.name))?;
    if let Some(schedule) = &job.schedule {
        write!(html, "<br><code class=\"note\">{}</code>", Escaped(schedule))?;
        if let Some(zone) = &job.time_zone {
            write!(html, " <span class=\"note\">{}</span>", Escaped(zone))?;
        }
    }
    write!(html, "<td>")?;
    if let Some(begun) = &job.running {
        write!(html, "<b>running</b> since {}<br>", When(begun.started, now))?;
    }
    if job.queued {
        write!(html, "waiting<br>")?;
    }
    match &job.record.last {
        Some(run) => write!(html, "{}", Ended(run, now))?,
        None => write!(html, "<span class=\"note\">never</span>")?,
    }
    write!(html, "<td>")?;
    match &job.record.last_success {
        Some(run) => write!(html, "{}", When(run.started, now))?,
        None => write!(html, "<span class=\"note\">never</span>")?,
    }
    write!(html, "<td>")?;
    if let Some(run) = &job.record.last_success {
        figures(html, run)?;
    }
    write!(html, "<td>")?;
    match job.next {
        Some(next) => write!(html, "{}", When(next, now))?,
        None => write!(html, "<span class=\"note\">on request</span>")?,
    }
    write!(html, "</tr>")
}

fn figures(html: &mut String, run: &Run) -> fmt::Result {
    let figures = &run.figures;
    let bytes = |value: Option<u64>| value.map(|value| ByteSize(value).to_string());
    for (what, value) in [
        ("files", figures.files.map(|files| files.to_string())),
        ("in all", bytes(figures.bytes)),
        ("read", bytes(figures.read_bytes)),
        ("stored", bytes(figures.stored_bytes)),
        ("brought back", bytes(figures.restored_bytes)),
        ("scrubbed", bytes(figures.scrubbed_bytes)),
        ("deleted", bytes(figures.deleted_bytes)),
        ("snapshots in the repository", figures.repository_snapshots.map(|count| count.to_string())),
        ("in the repository", bytes(figures.repository_bytes)),
        ("problems", figures.problems.filter(|count| *count > 0).map(|count| count.to_string())),
    ] {
        if let Some(value) = value {
            write!(html, "{value} {what}<br>")?;
        }
    }
    Ok(())
}

fn repositories(html: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    if status.leases.is_empty() {
        return Ok(());
    }
    write!(html, "<h2>Repositories</h2><table><tr><th>repository<th>lease<th>last seen</tr>")?;
    for lease in &status.leases {
        let (class, word) = if lease.held { ("good", "held") } else { ("bad", "not held") };
        write!(
            html,
            "<tr><td><code>{}</code><td><span class=\"{class}\">{word}</span>",
            Escaped(&lease.repository)
        )?;
        if let Some(epoch) = lease.epoch {
            write!(html, ", epoch {epoch}")?;
        }
        if let Some(reason) = &lease.reason {
            write!(html, "<br>{}", Escaped(reason))?;
        }
        write!(html, "<td>")?;
        if let Some(seen) = lease.seen {
            write!(html, "{}", When(seen, now))?;
        }
        write!(html, "</tr>")?;
    }
    write!(html, "</table>")
}

/// How a run ended, and why.
struct Ended<'a>(&'a Run, Timestamp);

impl Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(run, now) = *self;
        let class = match run.outcome {
            Outcome::Done => "good",
            Outcome::Partial | Outcome::Cancelled => "note",
            _ => "bad",
        };
        let took = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
        let took = Span(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
        let outcome = run.outcome.name().replace('_', " ");
        write!(f, "<span class=\"{class}\">{outcome}</span> {}, took {took}", When(run.started, now))?;
        for text in [&run.reason, &run.hint].into_iter().flatten() {
            write!(f, "<br>{}", Escaped(text))?;
        }
        Ok(())
    }
}

/// How long ago, or in how long; to the second as a title.
struct When(Timestamp, Timestamp);

impl Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(time, now) = *self;
        let distance = if time > now { time.since(now) } else { now.since(time) };
        let seconds = distance.as_secs();
        // One unit says enough.
        let rounded = match seconds {
            0..120 => seconds,
            120..7_200 => seconds / 60 * 60,
            7_200..172_800 => seconds / 3_600 * 3_600,
            _ => seconds / 86_400 * 86_400,
        };
        let span = Span(Duration::from_secs(rounded));
        write!(f, "<time title=\"{}\">", Escaped(&time.to_rfc3339()))?;
        match (seconds, time > now) {
            (0, _) => write!(f, "now")?,
            (_, true) => write!(f, "in {span}")?,
            (_, false) => write!(f, "{span} ago")?,
        }
        write!(f, "</time>")
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sign in self.0.chars() {
            match sign {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                sign => f.write_char(sign)?,
            }
        }
        Ok(())
    }
}
