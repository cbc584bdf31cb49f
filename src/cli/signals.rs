//! TERM and INT end a run in order: what it began is left so that the next run goes on. A second signal ends it
//! at once, which is as safe and only costs more time later. As process 1 no signal has an effect of its own.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::base::cancel::Cancel;

pub fn end_in_order(cancel: &Cancel) {
    for signal in [SIGTERM, SIGINT] {
        // The order matters: the first signal finds the flag unset and sets it, the second ends the process.
        let registered = flag::register_conditional_shutdown(signal, 128 + signal, cancel.flag())
            .and_then(|_| flag::register(signal, cancel.flag()));
        if let Err(error) = registered {
            tracing::warn!(%error, signal, "this signal ends the run at once");
        }
    }
}
