//! A pod without a runtime: processes with a PID namespace and a user of their own, which die together.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, kill_process};

use crate::support::sidecar::pid;
use crate::support::{Lab, Outcome, is_root, shell, wrap};

/// The group that pods have in common, as `fsGroup` gives it to their volumes.
const GROUP: &str = "20000";

pub struct Pod(Option<Child>);

impl Lab {
    /// Volume and repository belong to the group of pods, as the kubelet leaves it: its directories hand the group on.
    pub fn give_to_pods(&self) {
        assert!(is_root(), "this test has pods of different users; run it as root");
        // Where the build lies, these users may have no way in.
        fs::copy(env!("CARGO_BIN_EXE_volkeep"), self.path("home/volkeep")).unwrap();
        for path in ["", "home"] {
            fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = "cd \"$1\"; chgrp -R \"$2\" volume repository; chmod -R g+rwX volume repository
            find volume repository -type d -exec chmod g+s {} +; chgrp \"$2\" .; chmod g+w .";
        shell(script, &[self.path("").as_os_str(), GROUP.as_ref()]);
    }

    /// `more` comes on top of the lab's environment.
    pub fn pod(&self, user: u32, more: &[(&str, &str)], arguments: &[&str]) -> Pod {
        let mut inner = Command::new(self.path("home/volkeep"));
        let command = self.command(arguments);
        inner.args(command.get_args()).current_dir(self.path(""));
        inner.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inner.envs(more.iter().copied());
        let mut outer = Command::new("setpriv");
        outer.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // Who becomes another user has to ask for the signal again.
        let user = user.to_string();
        outer.args(["setpriv", "--reuid", &user, "--regid", GROUP, "--clear-groups", "--pdeathsig", "KILL"]);
        let piped =
            wrap(&mut outer, &inner).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Pod(Some(piped.spawn().unwrap()))
    }
}

impl Pod {
    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub fn finish(mut self) -> Outcome {
        crate::support::life::finish(self.0.take().unwrap())
    }

    /// By KILL, and at once. Comes back when none of its processes is left: the last of them closes the pipe.
    pub fn kill(mut self) -> Outcome {
        let outer = self.child().id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
        let first = children.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(pid(first), Signal::KILL).unwrap();
        self.finish()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = (child.kill(), child.wait());
        }
    }
}
