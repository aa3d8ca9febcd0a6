//! GET: the bytes of a file or of a part of it.
//!
//! Guarantees: a [`Body`] tells beforehand which bytes it brings and brings exactly these, or ends
//! with an error; what the server says of lengths is believed only as far as it was asked for. A
//! server that ignores ranges is put up with: what was not asked for is read and thrown away.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::Url;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};

use super::http::{Answer, Http, Request, Verb};
use super::tag;
use crate::remote::{Body, RemoteError, Result};
use crate::types::{ByteRange, Etag};

/// Most bytes that are held to find out how long an answer of unknown length is. A Nextcloud leaves
/// the length out only for empty files (FACTS 4).
const UNKNOWN_LENGTH_MAX: usize = 8 * 1024 * 1024;

/// Who sees to it that the bytes are those of the tag that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The server, by `If-Match`; what it answers is compared all the same.
    There,
    /// We, by the tag that comes with the bytes, which belongs to them: the server may know no
    /// conditions, or refuse a tag that it calls weak for a while. Where it has no tags, one is made
    /// from time and size.
    Here,
}

/// Reads a file; see [`crate::remote::Remote::read`].
pub async fn get(
    http: &Http,
    url: Url,
    range: Option<ByteRange>,
    only: Option<&Etag>,
    checked: Checked,
) -> Result<Body> {
    if let Some(range) = range.filter(ByteRange::is_empty) {
        return Ok(Body { range, etag: None, bytes: stream::empty().boxed() });
    }
    let mut request = Request::new(Verb::Get, url);
    if let Some(range) = range {
        request = request.header("range", format!("bytes={}-{}", range.start, range.end - 1))?;
    }
    if let (Some(etag), Checked::There) = (only, checked) {
        request = request.header("if-match", etag.0.as_bytes())?;
    }
    let answer = http.send(&request).await?;
    let (told, modified) = (tag::of_answer(&answer.headers), tag::modified(&answer.headers));
    let (range, total, bytes) = match (answer.status, range) {
        (200, None) => {
            let (all, bytes) = whole(answer).await?;
            (all, Some(all.end), bytes)
        }
        (200, Some(asked)) => cut_out(answer, asked).await?,
        (206, Some(asked)) => part(answer, asked)?,
        (status, _) => return Err(RemoteError::Protocol(format!("status {status} to a GET"))),
    };
    let etag = match checked {
        Checked::There => told,
        Checked::Here => {
            told.or_else(|| total.map(|total| tag::made(modified.unwrap_or(0), total)))
        }
    };
    match (only, &etag) {
        // A server without conditions answers all the same.
        (Some(only), Some(etag)) if tag::parse(&only.0).as_ref() != Some(etag) => {
            Err(RemoteError::PreconditionFailed { etag: Some(etag.clone()) })
        }
        (Some(_), None) if checked == Checked::Here => {
            Err(RemoteError::PreconditionFailed { etag: None })
        }
        _ => Ok(Body { range, etag, bytes }),
    }
}

type Bytestream = BoxStream<'static, Result<Bytes>>;

/// The whole file, with its length.
async fn whole(answer: Answer) -> Result<(ByteRange, Bytestream)> {
    let Some(length) = content_length(&answer.headers) else {
        let bytes = gather(answer.body).await?;
        let range = ByteRange::new(0, bytes.len() as u64);
        return Ok((range, stream::iter([Ok(bytes)]).boxed()));
    };
    let range = ByteRange::new(0, length);
    Ok((range, exactly(answer.body, 0, length)))
}

/// What of the file follows, how long all of it is if that is known, and the bytes.
type Part = (ByteRange, Option<u64>, Bytestream);

/// The part that was asked for, out of the whole file.
async fn cut_out(answer: Answer, asked: ByteRange) -> Result<Part> {
    let (all, bytes) = whole(answer).await?;
    let range = all.intersection(asked);
    if range.is_empty() {
        return Err(RemoteError::OutOfRange);
    }
    Ok((range, Some(all.end), exactly(bytes, range.start, range.len())))
}

/// The part that the server chose to send: from where it was asked, perhaps not as far, or farther (a
/// Nextcloud answers `bytes=0-0` with the whole file).
fn part(answer: Answer, asked: ByteRange) -> Result<Part> {
    let sent =
        answer.headers.get(CONTENT_RANGE).and_then(|text| content_range(text.to_str().ok()?));
    let fits = |(sent, _): &(ByteRange, Option<u64>)| {
        let length = content_length(&answer.headers).unwrap_or(sent.len());
        sent.start == asked.start && length == sent.len()
    };
    let Some((range, total)) = sent.filter(fits) else {
        return Err(RemoteError::Protocol("another range than asked for".into()));
    };
    let range = range.intersection(asked);
    Ok((range, total, exactly(answer.body, 0, range.len())))
}

/// All of a body whose length is not known.
async fn gather(mut body: Bytestream) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if all.len() + piece.len() > UNKNOWN_LENGTH_MAX {
            return Err(RemoteError::Protocol("a big file without its length".into()));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// `take` bytes of a body after the first `skip`. A body that ends before that is an error; one that
/// goes on is closed. May be asked again after its end.
fn exactly(body: Bytestream, skip: u64, take: u64) -> Bytestream {
    stream::unfold((body, skip, take), |(mut body, mut skip, take)| async move {
        if take == 0 {
            return None;
        }
        loop {
            let mut piece = match body.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Some((Err(error), (body, 0, 0))),
                None => {
                    let error = RemoteError::NoAnswer(format!("the file ended {take} bytes early"));
                    return Some((Err(error), (body, 0, 0)));
                }
            };
            let unwanted = skip.min(piece.len() as u64);
            skip -= unwanted;
            // Both are at most the length of the piece.
            drop(piece.split_to(unwanted as usize));
            piece.truncate(take.min(piece.len() as u64) as usize);
            if !piece.is_empty() {
                let left = take - piece.len() as u64;
                return Some((Ok(piece), (body, skip, left)));
            }
        }
    })
    .fuse()
    .boxed()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The range in `bytes 0-99/1000`, and the length of the whole unless it is `*`.
fn content_range(text: &str) -> Option<(ByteRange, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let end = last.checked_add(1)?;
    let total = if total == "*" { None } else { Some(total.parse::<u64>().ok()?) };
    let inside = total.is_none_or(|total| end <= total);
    (first < end && inside).then(|| (ByteRange::new(first, end), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static [u8]) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        let pieces: Vec<_> = body.chunks(3).map(|piece| Ok(Bytes::from_static(piece))).collect();
        Answer { status, headers: headers.collect(), body: stream::iter(pieces).boxed() }
    }

    async fn read(bytes: Bytestream) -> Result<Vec<u8>> {
        let pieces: Vec<_> = bytes.collect().await;
        pieces.into_iter().collect::<Result<Vec<_>>>().map(|pieces| pieces.concat())
    }

    #[test]
    fn a_content_range_is_read_only_when_it_makes_sense() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((ByteRange::new(0, 100), Some(1000))));
        assert_eq!(content_range("bytes 5-5/*"), Some((ByteRange::new(5, 6), None)));
        for bad in ["bytes */5", "bytes 9-5/10", "bytes 0-9/5", "items 0-1/2", "0-1/2", ""] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_that_was_not_asked_for_is_refused() {
        let asked = ByteRange::new(10, 20);
        let try_part = |range: &str, length: &str| {
            let headers = [("content-range", range), ("content-length", length)];
            part(answer(206, &headers, b""), asked).map(|(range, ..)| range)
        };
        assert_eq!(try_part("bytes 10-19/99", "10").unwrap(), asked);
        assert_eq!(try_part("bytes 10-14/15", "5").unwrap(), ByteRange::new(10, 15));
        assert_eq!(try_part("bytes 10-29/99", "20").unwrap(), asked);
        assert!(try_part("bytes 0-9/99", "10").is_err());
        assert!(try_part("bytes 10-19/99", "99").is_err());
        assert!(part(answer(206, &[], b""), asked).is_err());
    }

    #[tokio::test]
    async fn an_empty_file_without_a_length_is_an_empty_file() {
        let (range, bytes) = whole(answer(200, &[], b"")).await.unwrap();
        assert!(range.is_empty());
        assert_eq!(read(bytes).await.unwrap(), b"");
        let outside = cut_out(answer(200, &[], b""), ByteRange::new(0, 10)).await;
        assert!(matches!(outside, Err(RemoteError::OutOfRange)));
    }

    #[tokio::test]
    async fn a_server_that_ignores_ranges_is_cut_to_what_was_asked() {
        let headers = [("content-length", "10")];
        let asked = ByteRange::new(4, 7);
        let (range, _, bytes) = cut_out(answer(200, &headers, b"0123456789"), asked).await.unwrap();
        assert_eq!((range, read(bytes).await.unwrap()), (asked, b"456".to_vec()));
        let (range, _, bytes) =
            cut_out(answer(200, &headers, b"0123456789"), ByteRange::new(8, 99)).await.unwrap();
        assert_eq!((range, read(bytes).await.unwrap()), (ByteRange::new(8, 10), b"89".to_vec()));
    }

    #[tokio::test]
    async fn a_body_that_ended_can_be_asked_again() {
        let (_, mut bytes) = whole(answer(200, &[("content-length", "2")], b"01")).await.unwrap();
        assert_eq!(bytes.next().await.unwrap().unwrap(), "01");
        assert!(bytes.next().await.is_none());
        assert!(bytes.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_is_too_short_is_an_error_and_one_too_long_is_cut() {
        let headers = [("content-length", "10")];
        let (_, bytes) = whole(answer(200, &headers, b"01234")).await.unwrap();
        assert!(matches!(read(bytes).await, Err(RemoteError::NoAnswer(_))));
        let (_, bytes) = whole(answer(200, &[("content-length", "2")], b"01234")).await.unwrap();
        assert_eq!(read(bytes).await.unwrap(), b"01");
    }
}
