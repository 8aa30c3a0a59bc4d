use crate::domain::ids::Seq;
pub fn index_lost(reason: &'static str) {
    tracing::warn!(reason, "the index is lost");
}
pub fn index_ready(up_to: Seq, rebuilt: bool) {
    tracing::info!(up_to = up_to.0, rebuilt, "ready");
}
pub fn index_away() {
    tracing::error!("away");
}
