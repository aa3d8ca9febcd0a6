//! Uploads: in one PUT where that is safe, else in parts (chunked upload v2, FACTS 9).
//!
//! Guarantees, where the server takes parts: what stands under the name is at every moment either the
//! old content or all of the new one, but for a PUT of at most [`PLAIN_OVERWRITE_MAX`] bytes over an
//! existing file that is cut on its way (FACTS 0.2). Parts gather in a folder of the server's that nobody sees; it is deleted
//! when the upload fails or is dropped before its assembly. A crash here leaves it to the server,
//! which deletes it after a day.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tracing::debug;

use super::NextcloudRemote;
use crate::remote::webdav::http::{Answer, Http, Payload, Request, Verb};
use crate::remote::webdav::temporary::Temporary;
use crate::remote::webdav::{href::Root, namespace, put, tag};
use crate::remote::{
    MoveIf, PLAIN_OVERWRITE_MAX, PutIf, RemoteError, Result, Upload, Written, sendable_mtime,
};
use crate::types::{ByteRange, Name, RemotePath, Version};

/// New files up to this size are one PUT, which leaves nothing behind when it is cut. Bytes.
const PLAIN_NEW_MAX: u64 = 1024 * 1024 * 1024;
/// Size of a part where the server does not ask for smaller ones: below it the cost of a request
/// shows (FACTS 9). Bytes.
const PART: u64 = 32 * 1024 * 1024;
/// Most parts that object storage takes (FACTS 9).
const PARTS_MAX: u64 = 10_000;
/// Smallest part but the last that object storage takes. Bytes.
const PART_MIN: u64 = 5 * 1024 * 1024;
/// How often a part is sent: it becomes visible only by the assembly, so it can be repeated.
const PART_ATTEMPTS: u32 = 3;
/// Stores a whole file; see [`crate::remote::Remote::put`].
pub async fn upload(
    remote: &NextcloudRemote,
    path: &RemotePath,
    upload: Upload,
) -> Result<Written> {
    let size = upload.source.size();
    let plain = match upload.condition {
        PutIf::Free => size <= PLAIN_NEW_MAX,
        PutIf::Holds(_) => size <= PLAIN_OVERWRITE_MAX,
    };
    let target = remote.files.url(path);
    let answer = match remote.part_max {
        Some(part_max) if !plain => in_parts(remote, part_max, target, &upload).await?,
        _ => in_one(&remote.http, target, &upload).await?,
    };
    let written = written(&upload, &answer);
    answer.drain().await;
    Ok(written)
}

async fn in_one(http: &Http, target: Url, upload: &Upload) -> Result<Answer> {
    let size = upload.source.size();
    let payload = match size <= PLAIN_OVERWRITE_MAX {
        true => put::read_ahead(&upload.source).await?,
        false => {
            let source = Arc::clone(&upload.source);
            Payload::Part { source, range: ByteRange::new(0, size) }
        }
    };
    let request = put::conditional(put::request(target, payload), &upload.condition)?;
    put::put(http, &described(request, upload)?).await
}

async fn in_parts(
    remote: &NextcloudRemote,
    part_max: u64,
    target: Url,
    upload: &Upload,
) -> Result<Answer> {
    let size = upload.source.size();
    let http = &remote.http;
    let mut folder = UploadFolder::create(http, &remote.uploads, &target, size).await?;
    for (index, range) in parts(size, part_max).enumerate() {
        folder.put_part(index + 1, range, upload).await?;
    }
    let condition = match &upload.condition {
        PutIf::Free => MoveIf::Free,
        PutIf::Holds(etag) => MoveIf::Holds(etag.clone()),
    };
    let assembled = folder.url(b".file")?;
    let request = namespace::move_request(assembled, &target, None, &condition)?
        .header("oc-total-length", size.to_string())?;
    let mut request = described(request, upload)?;
    // All bytes are read and written once more (FACTS 9).
    request.patience = request.patience.max(put::patience(size)) * 2;
    // From here on the server may be assembling: without an answer it is left alone.
    folder.temporary.keep();
    let outcome = http.send(&request).await;
    match &outcome {
        Err(error) if !error.outcome_unknown() => folder.temporary.discard(),
        _ => {}
    }
    outcome
}

/// Adds what goes with the bytes.
fn described(request: Request, upload: &Upload) -> Result<Request> {
    let request = request.header("x-oc-mtime", sendable_mtime(upload.mtime).to_string())?;
    match upload.checksum {
        Some(sum) => request.header("oc-checksum", format!("SHA1:{sum}")),
        None => Ok(request),
    }
}

/// What the server holds now, as far as its answer tells.
fn written(upload: &Upload, answer: &Answer) -> Written {
    let headers = &answer.headers;
    let accepted = headers.get("x-oc-mtime").is_some_and(|word| word == "accepted");
    let sent = sendable_mtime(upload.mtime);
    Version {
        file_id: tag::file_id(headers),
        etag: tag::of_answer(headers),
        // A server that does not take it sets its own time.
        mtime: if accepted { sent } else { tag::server_time(headers).unwrap_or(sent) },
        size: upload.source.size(),
        upload_time: None,
        checksum: Some(upload.checksum),
    }
}

/// The parts of a file: as big as the server likes, but never more than it can count.
fn parts(size: u64, part_max: u64) -> impl Iterator<Item = ByteRange> {
    let part = PART.min(part_max).max(PART_MIN).max(size.div_ceil(PARTS_MAX));
    let count = size.div_ceil(part);
    (0..count)
        .map(move |index| ByteRange::new(0, size).intersection(ByteRange::at(index * part, part)))
}

/// The folder on the server in which the parts of one upload gather; deleted on drop.
struct UploadFolder {
    http: Arc<Http>,
    root: Root,
    target: Url,
    size: u64,
    temporary: Temporary,
}

impl UploadFolder {
    async fn create(http: &Arc<Http>, uploads: &Root, target: &Url, size: u64) -> Result<Self> {
        let name = Name::new(format!("ncfs-{:032x}", rand::random::<u128>()).into_bytes())
            .map_err(|error| RemoteError::Refused(error.to_string()))?;
        let root = uploads.below(&RemotePath(vec![name]));
        let url = root.url(&RemotePath::root());
        // If its answer is lost it may be there all the same.
        let temporary = Temporary::new(http, url.clone());
        let folder = Self { http: Arc::clone(http), root, target: target.clone(), size, temporary };
        let request = folder.described(Request::new(Verb::Mkcol, url))?;
        namespace::finish(http, &request).await.map_err(invisible)?;
        Ok(folder)
    }

    /// Sends the bytes of one part; the first one has number 1.
    async fn put_part(&self, number: usize, range: ByteRange, upload: &Upload) -> Result<()> {
        let url = self.url(format!("{number:05}").as_bytes())?;
        let payload = Payload::Part { source: Arc::clone(&upload.source), range };
        let request = self.described(put::request(url, payload))?;
        let mut attempt = 1;
        loop {
            let error = match put::put(&self.http, &request).await {
                Ok(answer) => {
                    answer.drain().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            let lost = matches!(error, RemoteError::NoAnswer(_) | RemoteError::Locked);
            if !lost || attempt == PART_ATTEMPTS {
                return Err(invisible(error));
            }
            debug!(number, attempt, %error, "a part is sent again");
            tokio::time::sleep(Duration::from_millis(rand::random_range(500..1500))).await;
            attempt += 1;
        }
    }

    /// Both are wanted on every request by object storage and by the check of the quota.
    fn described(&self, request: Request) -> Result<Request> {
        request
            .header("destination", self.target.as_str())?
            .header("oc-total-length", self.size.to_string())
    }

    fn url(&self, name: &[u8]) -> Result<Url> {
        let name = Name::new(name).map_err(|error| RemoteError::Refused(error.to_string()))?;
        Ok(self.root.url(&RemotePath(vec![name])))
    }
}

/// An error on the way to the assembly: nothing can have become visible, whatever was lost.
fn invisible(error: RemoteError) -> RemoteError {
    match error {
        RemoteError::NoAnswer(why) => RemoteError::Offline(why),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_without_gaps() {
        for size in [1, PART - 1, PART, PART + 1, 10 * PART, 500 * 1024 * 1024 * 1024] {
            let all: Vec<_> = parts(size, 100 * 1024 * 1024).collect();
            assert!(all.len() as u64 <= PARTS_MAX);
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, size));
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }

    #[test]
    fn parts_are_as_small_as_the_server_asks_but_not_smaller_than_object_storage_takes() {
        let first = |part_max| parts(1024 * 1024 * 1024, part_max).next().unwrap().len();
        assert_eq!(first(u64::MAX), PART);
        assert_eq!(first(10 * 1024 * 1024), 10 * 1024 * 1024);
        assert_eq!(first(1), PART_MIN);
    }

    #[test]
    fn a_time_that_would_break_the_answer_is_never_sent() {
        assert_eq!(sendable_mtime(-5), 86_401);
        assert_eq!(sendable_mtime(86_400), 86_401);
        assert_eq!(sendable_mtime(1_700_000_000), 1_700_000_000);
    }

    #[test]
    fn a_lost_part_is_not_an_unknown_outcome() {
        assert!(!invisible(RemoteError::NoAnswer("x".into())).outcome_unknown());
    }
}
