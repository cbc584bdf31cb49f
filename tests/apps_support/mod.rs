//! Apps that write all the time: how each is founded, started, killed and judged.

#![allow(clippy::panic, reason = "a test that cannot go on should stop")]

pub mod container;
pub mod postgres;
pub mod recipe;
pub mod session;
pub mod sqlite;

use container::Container;
use session::Session;

use crate::support::Lab;

/// What runs beside each other in one pod.
#[derive(Debug, Default)]
pub struct Instance {
    /// Of an app with a server.
    pub server: Option<Container>,
    pub sidecar: Option<Container>,
}

impl Instance {
    pub fn kill_sidecar(&mut self) {
        drop(self.sidecar.take());
    }
}

pub trait App {
    fn name(&self) -> &'static str;
    /// A volume with an empty database on it, known to volkeep, and the configuration of the recipe.
    fn found(&self) -> Lab;
    /// What the recipe does between `init` and the start. Gives the instant, in nanoseconds since 1970, from which on
    /// what was committed need not be in the copy; `None` where that is the instant of the snapshot.
    fn put_in_place(&self, lab: &Lab) -> Option<u64>;
    fn start(&self, lab: &Lab) -> Instance;
    /// Somebody who writes, from the transaction after `last` on.
    fn session(&self, lab: &Lab, last: u64) -> Session;
    /// Of the app, all at once.
    fn kill(&self, instance: &mut Instance, session: &mut Session);
    /// Panics unless the database is whole. Gives the number of its last transaction.
    fn examine(&self, lab: &Lab) -> u64;
}

/// The tables, for SQLite and PostgreSQL alike: a chain of rows, accounts that their amounts add up in, and the head
/// of the chain.
pub const TABLES: &str = "
    CREATE TABLE ledger (n bigint PRIMARY KEY, account int, amount bigint, chain bigint, padding text);
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint);
    CREATE TABLE head (n bigint, chain bigint);
    INSERT INTO accounts VALUES (0,0),(1,0),(2,0),(3,0),(4,0),(5,0),(6,0),(7,0),(8,0),(9,0);
    INSERT INTO head VALUES (0, 1);
";

/// One line, as it goes through a pipe. A row comes and one goes, that of 20,000 transactions before, which has the
/// same account. `$PADDING` is text of changing length.
pub const TRANSACTION: &str = "\
    INSERT INTO ledger SELECT n+1, (n+1)%10, (n+1)*7919%1000-500, (chain*48271+n+1)%2147483647, $PADDING FROM head; \
    UPDATE accounts SET balance = balance + (SELECT (n+1)*7919%1000-500 FROM head) \
        - coalesce((SELECT amount FROM ledger WHERE n = (SELECT n-19999 FROM head)), 0) \
        WHERE id = (SELECT (n+1)%10 FROM head); \
    DELETE FROM ledger WHERE n = (SELECT n-19999 FROM head); \
    UPDATE head SET chain = (chain*48271+n+1)%2147483647, n = n+1; COMMIT; SELECT n FROM head;\n";
const ROWS: u64 = 20_000;

/// The last transaction; how many rows there are; then what must be the first number again: the last row, the row
/// with the chain of the head; then what must be nothing: rows that do not follow their predecessor, accounts that
/// do not add up.
const INVARIANTS: &str = "
    SELECT n, (SELECT count(*) FROM ledger), (SELECT coalesce(max(n), 0) FROM ledger),
        (SELECT coalesce(max(l.n), 0) FROM ledger l WHERE l.chain = head.chain AND l.n = head.n),
        (SELECT count(*) FROM (
            SELECT n, chain, lag(n, 1) OVER (ORDER BY n) AS n0, lag(chain, 1) OVER (ORDER BY n) AS chain0 FROM ledger
        ) l WHERE n <> n0 + 1 OR chain <> (chain0*48271+n) % 2147483647),
        (SELECT count(*) FROM accounts a
            WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM ledger WHERE account = a.id))
    FROM head;
";

/// Of the answer to [`INVARIANTS`], a line with `|` between the figures.
#[track_caller]
fn judge(answer: &str) -> u64 {
    let figures: Vec<u64> = answer.trim().split('|').filter_map(|figure| figure.parse().ok()).collect();
    match figures.as_slice() {
        [n, rows, last, head, 0, 0] if *rows == ROWS.min(*n) && n == last && n == head => *n,
        _ => panic!("the invariants do not hold: {answer}"),
    }
}
