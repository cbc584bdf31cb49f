//! Puts a sidecar together, starts what works beside its loop, and ends all of it in order. Holds no rule of its
//! own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::base::cancel::Cancel;
use crate::base::process::reap;
use crate::base::secret::Secret;
use crate::ops::Scope;
use crate::sidecar::SidecarError;
use crate::sidecar::control::Control;
use crate::sidecar::engine::{End, Engine, Event, Signal};
use crate::sidecar::means::{Means, Reload};
use crate::sidecar::notify::{About, Delivery, Notifier};
use crate::sidecar::opening::{self, Opened};
use crate::sidecar::saver::Saver;
use crate::sidecar::state::States;
use crate::sidecar::web::{self, Access, Gate};

/// Orders that wait to be heard.
const ORDERS: usize = 16;
/// For the last writes and notices, and for those who read them, when the budget is spent.
const SHORTEST_END: Duration = Duration::from_secs(1);

/// Until told to end by TERM or INT. `stopping` is set by the first of these, for whoever waits in a thread.
pub fn run(means: Means, reload: Reload, stopping: &Cancel) -> Result<End, SidecarError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| SidecarError::Start { doing: "no loop could be started", source })?;
    let result = runtime.block_on(live(means, reload, stopping));
    // What still hangs in a system call is left to the end of the process.
    runtime.shutdown_timeout(Duration::ZERO);
    result
}

async fn live(means: Means, reload: Reload, stopping: &Cancel) -> Result<End, SidecarError> {
    let (events, heard) = mpsc::unbounded_channel();
    listen_to_signals(&events)?;
    if reap::is_our_duty() {
        reap::keep_reaping().map_err(start("orphans cannot be collected"))?;
    }
    let scope = means.scope.clone();
    let states = States::below(scope.state_dir());
    let saver = {
        let events = events.clone();
        Saver::start(states.clone(), move |saved| drop(events.send(Event::Saved(saved))))
            .map_err(start("no thread for the records"))?
    };
    let about = About {
        identity: scope.volume.identity().to_owned(),
        volume: scope.volume.path().display().to_string(),
        host: if scope.pod.is_empty() { scope.host.clone() } else { scope.pod.clone() },
        version: env!("CARGO_PKG_VERSION"),
    };
    let notifier =
        Notifier::start(means.options.notify.clone(), about, Arc::clone(&scope.clock), Arc::new(Delivery))
            .map_err(start("no thread for the notices"))?;
    let jobs: Vec<String> = means.options.jobs.iter().map(|job| job.name.clone()).collect();
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (token, tokens) = watch::channel(means.options.token.clone());
    let listen = means.options.listen;
    let gate = Gate::new(scope.volume.clone(), means.options.has_steps);
    let (mut engine, status) = Engine::new(means, reload, notifier, saver, token, events.clone());
    let control = Control::new(status, orders);
    let mut pages = Pages::new(control, scope.clone(), tokens, gate);
    if let Some(address) = listen {
        let listener =
            TcpListener::bind(address).await.map_err(|source| SidecarError::Listen { address, source })?;
        // The system chooses the port 0.
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "listening");
        pages.over_tcp(listener);
    }
    let (opener, stop) = (scope.clone(), stopping.clone());
    let opened = events.clone();
    thread::Builder::new()
        .name("open".to_owned())
        .spawn(move || open(&opener, &states, &jobs, &stop, &opened))
        .map_err(start("no thread to open the volume"))?;
    let end = engine.run(ordered, heard, || pages.over_socket()).await?;
    finish(engine, &scope, end, pages).await
}

/// Waits for the volume, thaws what a killed sidecar left frozen, and reports.
fn open(
    scope: &Scope,
    states: &States,
    jobs: &[String],
    stopping: &Cancel,
    events: &mpsc::UnboundedSender<Event>,
) {
    let opened = opening::wait_for_volume(scope, stopping).and_then(|lock| {
        let Some(lock) = lock else { return Ok(None) };
        // Before anything else: the app may have been standing still since then.
        opening::thaw_left_behind(scope);
        opening::open(scope, states, jobs, lock, stopping)
    });
    let event = match opened {
        Ok(Some(opened)) => Event::Opened(Box::new(opened)),
        // Told to end meanwhile: the loop knows.
        Ok(None) => return,
        Err(error) => Event::Failed(error.into()),
    };
    drop(events.send(event));
}

/// The volume is called clean only when nothing of this sidecar works on it any more.
async fn finish(mut engine: Engine, scope: &Scope, end: End, mut pages: Pages) -> Result<End, SidecarError> {
    let deadline = Instant::now() + engine.time_left();
    let left = || deadline.saturating_duration_since(Instant::now()).max(SHORTEST_END);
    let opened = engine.close();
    pages.close(left()).await;
    engine.say_goodbye(left());
    if let (End::InOrder, Some(Opened { was_clean: true, .. })) = (end, &opened) {
        let scope = scope.clone();
        let marked = tokio::task::spawn_blocking(move || opening::mark_clean(&scope));
        // A backup that somebody makes by hand may keep the marker to itself for longer than there is time.
        match tokio::time::timeout(left(), marked).await {
            Ok(Ok(marked)) => marked?,
            Ok(Err(_)) | Err(_) => {
                tracing::error!("the volume cannot be marked as clean: somebody else's backup is under way");
                return Ok(End::GaveUp);
            }
        }
    }
    // The lock goes last: whoever stands by finds a volume that is clean.
    drop(opened);
    Ok(end)
}

fn listen_to_signals(events: &mpsc::UnboundedSender<Event>) -> Result<(), SidecarError> {
    let signals = [
        (SignalKind::terminate(), Signal::End),
        (SignalKind::interrupt(), Signal::End),
        (SignalKind::hangup(), Signal::Reload),
    ];
    for (kind, meaning) in signals {
        let mut received = signal(kind).map_err(start("signals cannot be heard"))?;
        let events = events.clone();
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                drop(events.send(Event::Signal(meaning)));
            }
        });
    }
    Ok(())
}

/// Those who serve requests, and how they are told to end.
struct Pages {
    control: Control,
    scope: Scope,
    tokens: watch::Receiver<Option<Secret>>,
    gate: Gate,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    socket: Option<web::socket::Socket>,
}

impl Pages {
    fn new(control: Control, scope: Scope, tokens: watch::Receiver<Option<Secret>>, gate: Gate) -> Self {
        Self {
            control,
            scope,
            tokens,
            gate,
            stop: watch::Sender::new(false),
            servers: Vec::new(),
            socket: None,
        }
    }

    fn router(&self, access: Access) -> axum::Router {
        web::router(self.control.clone(), access, Arc::clone(&self.scope.clock), self.gate.clone())
    }

    fn over_tcp(&mut self, listener: TcpListener) {
        let router = self.router(Access::Token(self.tokens.clone()));
        self.servers.push(tokio::spawn(web::serve_tcp(listener, router, self.stop.subscribe())));
    }

    /// Once the volume is ours: the socket of another sidecar must not be taken away.
    fn over_socket(&mut self) {
        match web::socket::bind(self.scope.state_dir()) {
            Ok((listener, socket)) => {
                let router = self.router(Access::Open);
                self.servers.push(tokio::spawn(web::serve_unix(listener, router, self.stop.subscribe())));
                self.socket = Some(socket);
            }
            Err(error) => {
                // Some file systems hold no sockets.
                tracing::warn!(%error, "`volkeep run` will not find this sidecar: no socket could be made");
            }
        }
    }

    async fn close(&mut self, within: Duration) {
        let _ = self.stop.send(true);
        self.socket = None;
        for server in self.servers.drain(..) {
            let _ = tokio::time::timeout(within, server).await;
        }
    }
}

fn start(doing: &'static str) -> impl FnOnce(std::io::Error) -> SidecarError {
    move |source| SidecarError::Start { doing, source }
}
