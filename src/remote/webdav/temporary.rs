//! Something on the server that is of use only for a while.

use std::sync::Arc;

use reqwest::Url;
use tracing::debug;

use super::http::Http;
use super::namespace;

/// A file or directory on the server that is deleted there when this is dropped. A crash leaves it.
pub struct Temporary {
    http: Arc<Http>,
    url: Url,
    armed: bool,
}

impl Temporary {
    pub fn new(http: &Arc<Http>, url: Url) -> Self {
        Self { http: Arc::clone(http), url, armed: true }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Leaves it alone from here on: it may be turning into something that lasts.
    pub fn keep(&mut self) {
        self.armed = false;
    }

    /// Deletes it after all.
    pub fn discard(mut self) {
        self.armed = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.armed {
            return;
        }
        let (http, url) = (Arc::clone(&self.http), self.url.clone());
        runtime.spawn(async move {
            if let Err(error) = namespace::delete(&http, url, None).await {
                debug!(%error, "what was temporary is left to the server");
            }
        });
    }
}
