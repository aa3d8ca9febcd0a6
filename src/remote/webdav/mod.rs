//! RFC 4918 over HTTP: what every WebDAV server has in common.
//!
//! [`http`] sends all requests. The others each know one subject of the protocol and nothing of
//! Nextcloud beyond names of properties and headers that other servers lack and leave out.

mod auth_gate;
mod body;
pub(in crate::remote) mod get;
pub(in crate::remote) mod href;
pub(in crate::remote) mod http;
mod metrics;
mod multistatus;
pub(in crate::remote) mod namespace;
pub(in crate::remote) mod properties;
pub(in crate::remote) mod propfind;
pub(in crate::remote) mod put;
mod refusal;
pub(in crate::remote) mod session;
pub(in crate::remote) mod tag;
pub(in crate::remote) mod temporary;

pub use metrics::MetricsSnapshot;
