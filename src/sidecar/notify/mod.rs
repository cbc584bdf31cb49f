//! stub
use crate::sidecar::status::NoticeCounts;
#[derive(Clone, Debug, Default)]
pub struct NotifyOptions;
#[derive(Debug, Default)]
pub struct Notifier;
impl Notifier {
    pub fn counts(&self) -> NoticeCounts { NoticeCounts::default() }
    pub fn replace(&mut self, _: &NotifyOptions) {}
    pub fn begins(&mut self, _: &str) {}
}
