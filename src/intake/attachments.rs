//! Files: uploading one, asking whether it is there, and getting it back.
//!
//! ```text
//!  known? ─► body, piece by piece ─► hash, first bytes ─► sealed on the disk, synced, named
//!    │ yes: read, compared, not written                               │
//!    └─► engine (its time begins anew) ─► 200   201 ◄── engine (durable) ◄┘
//! ```
//!
//! Nothing is visible before the engine knows it, and the engine knows it only when it is durable:
//! an upload that is cut off leaves nothing, and one that has come whole goes on to its end although
//! its client hung up. A file is its institution's: its stored name is a hash of
//! both, so what belongs to somebody else is not there (404). One that is damaged is told and never
//! served; uploading it again replaces it. Which files a submission may name is `check`'s and the
//! engine's.

use super::answer;
use super::submit::{has_room, may_ask};
use super::transfers::{Leaving, Place};
use super::{Caller, Shared, State};
use crate::domain::attachment::{CONTENT_BYTES, Content, Digest};
use crate::domain::ids::{BlobName, InstitutionCode};
use crate::domain::time::Timestamp;
use crate::engine::change::Blob;
use crate::engine::event::{Done, Fault, Reply, Sought};
use crate::engine::ports::{BlobError, BlobWriter};
use crate::engine::stored;
use crate::telemetry::events;
use crate::web::access::Scope;
use crate::web::problem::{self, Code, FieldError, Problem};
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State as Taken};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::BytesMut;
use http_body_util::BodyExt;
use ring::digest::{Context, SHA256};
use serde::Serialize;

/// Bytes that are written at once.
const PIECE: usize = 1 << 18;

/// A stored file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Stored {
    /// Its digest.
    digest: String,
    /// Its size.
    bytes: u64,
    /// When it was stored, or last sent again.
    stored_at: String,
}

/// The file that a request is about.
struct About {
    code: InstitutionCode,
    digest: Digest,
    name: BlobName,
}

impl About {
    fn of(state: &State, caller: &Caller, scope: Scope, digest: &str) -> Result<Self, Problem> {
        let code = caller.with(scope)?.0.code.clone();
        let digest = digest.parse::<Digest>().map_err(|why| wrong("/digest", why.to_string()))?;
        let name = state.vault.blob_name(&code, &digest);
        Ok(Self { code, digest, name })
    }

    async fn known(&self, state: &State) -> Result<Blob, Problem> {
        let name = self.name;
        let known = state.engine.read(move |machine, _| machine.blob(name).cloned()).await;
        known.ok_or_else(answer::unavailable)?.ok_or_else(|| Problem::not_found(Sought::Attachment))
    }
}

fn wrong(pointer: &str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let (pointer, detail) = (pointer.to_owned(), detail.into());
    Problem::fields(vec![FieldError { pointer, detail, code: None }])
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(Code::Internal, "the file could not be worked on"))
}

/// What the disk said of a file, as the caller is told.
fn refused(error: &BlobError) -> Problem {
    match error {
        BlobError::Full(_) => {
            let detail = "the disk is full; nothing of the file was kept";
            Problem::new(Code::DiskReserve, detail).retry_after(30)
        }
        BlobError::Missing | BlobError::Damaged(_) => {
            let detail = "the file was stored, and is damaged on our disk; upload it again, or ask \
                          again when the operators have restored it";
            Problem::new(Code::RecordDamaged, detail).retry_after(300)
        }
        BlobError::Io(_) => {
            let detail = "the file cannot be written or read now";
            Problem::new(Code::Unavailable, detail).retry_after(5)
        }
    }
}

/// Stores a file.
#[utoipa::path(
    put,
    path = "/v1/attachments/{digest}",
    operation_id = "storeAttachment",
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits")),
    request_body(content = [u8], description = "The file", content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It was stored before; nothing was written", body = Stored),
        (status = 201, description = "Stored and durable", body = Stored),
        (status = 413, description = "The file has more bytes than one may have", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "The file is of no format that is taken", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The file has another digest", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "No room: the disk's reserve, or the institution's share", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn store(
    Taken(state): Taken<Shared>,
    Path(digest): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let now = state.clock.now();
    let caller = Caller::of(&state, &head.headers, now.wall)?;
    let about = About::of(&state, &caller, Scope::Submit, &digest)?;
    may_ask(&state.quotas, &about.code, now.monotonic)?;
    let declared = declared_type(&head.headers)?;
    let most = state.limits.attachment.bytes_max;
    let length = body.size_hint().lower();
    if usize::try_from(length).unwrap_or(usize::MAX) > most {
        return Err(too_large(most));
    }
    let place = state.transfers.place_up(&about.code).await?;
    let (code, name) = (about.code.clone(), about.name);
    let look = move |m: &crate::engine::machine::Machine, _| {
        let full = m.may_store(&code, length).err();
        (m.blob(name).cloned(), full, m.is_quarantined())
    };
    let looked = state.engine.read(look).await.ok_or_else(answer::unavailable)?;
    let (known, full, quarantined) = looked;
    if quarantined {
        return Err(answer::faulty(&Fault::Quarantined));
    }
    // One that is damaged is replaced by what comes now.
    let replaces = match &known {
        Some(blob) if is_whole(&state, blob).await? => {
            let receiving = Receiving::new(None);
            receive(&state, body, receiving).await?.check(&about.digest)?;
            renew(&state, blob, now.wall).await?;
            return shown(&state, StatusCode::OK, &about, &about.known(&state).await?);
        }
        Some(blob) => Some(blob.file),
        None => None,
    };
    if let Some(full) = full.filter(|_| replaces.is_none()) {
        return Err(answer::faulty(&full));
    }
    has_room(&state)?;
    let writer = begin(&state, &about, now.wall).await?;
    let mut received = receive(&state, body, Receiving::new(Some(writer))).await?;
    received.check(&about.digest)?;
    let content = received.content(&state, declared)?;
    let Some(writer) = received.writer.take() else {
        return Err(Problem::new(Code::Internal, "the file could not be worked on"));
    };
    // The engine sets when, and who names it; the disk, which file.
    let (name, institution, bytes) = (about.name, about.code.clone(), received.bytes);
    let blob = Blob { name, file: 0, institution, bytes, content, at: now.wall, named: None };
    let finishing = finish(state.clone(), blob, writer, replaces, place);
    let status = state.transfers.to_the_end(finishing).await?;
    shown(&state, status, &about, &about.known(&state).await?)
}

/// Makes a file durable and known that has come whole. In its place to the end, so that a client
/// that hangs up leaves no file that nobody counts.
async fn finish(
    state: Shared,
    mut blob: Blob,
    writer: Box<dyn BlobWriter>,
    replaces: Option<u64>,
    _place: Place,
) -> Result<StatusCode, Problem> {
    let at = blob.at;
    blob.file = blocking(move || writer.finish()).await?.map_err(|error| refused(&error))?;
    match state.engine.store_blob(blob.clone(), replaces).await {
        Reply::Done(Done::Blob(true)) => Ok(StatusCode::CREATED),
        Reply::Done(Done::Blob(false)) => {
            forget(&state, &blob).await?;
            Ok(StatusCode::OK)
        }
        Reply::Invalid(fault) => {
            forget(&state, &blob).await?;
            Err(answer::faulty(&fault))
        }
        // Whether the engine took it is not known: the file stays, and the next start knows.
        other => Err(answer::problem_of(&state, other, at)),
    }
}

/// Has a file kept from now on that came again, as if it had come now.
async fn renew(state: &State, blob: &Blob, now: Timestamp) -> Result<(), Problem> {
    match state.engine.renew_blob(blob.clone()).await {
        Reply::Done(Done::Blob(true)) => Ok(()),
        Reply::Done(Done::Blob(false)) => {
            let detail = "the file left while it came again; nothing of it was kept, send it again";
            Err(Problem::new(Code::Unavailable, detail).retry_after(1))
        }
        other => Err(answer::problem_of(state, other, now)),
    }
}

async fn begin(
    state: &State,
    about: &About,
    at: Timestamp,
) -> Result<Box<dyn BlobWriter>, Problem> {
    let (blobs, code, name) = (state.blobs.clone(), about.code.clone(), about.name);
    let made = blocking(move || blobs.create(&code, at, name)).await?;
    made.map_err(|error| refused(&error))
}

/// Puts a file away that the engine did not take.
async fn forget(state: &State, blob: &Blob) -> Result<(), Problem> {
    let (blobs, place) = (state.blobs.clone(), (blob.name, blob.file));
    let left = blocking(move || blobs.discard(place)).await?;
    events::attachments_left(1, left);
    Ok(())
}

async fn is_whole(state: &State, blob: &Blob) -> Result<bool, Problem> {
    let (blobs, blob) = (state.blobs.clone(), blob.clone());
    let file = blob.file_name();
    match blocking(move || blobs.check(&blob)).await? {
        Ok(()) => Ok(true),
        Err(error @ (BlobError::Missing | BlobError::Damaged(_))) => {
            events::attachment_unreadable(&file, &error, true);
            Ok(false)
        }
        Err(error) => Err(refused(&error)),
    }
}

fn shown(
    state: &State,
    status: StatusCode,
    about: &About,
    blob: &Blob,
) -> Result<Response, Problem> {
    let digest = about.digest.to_string();
    let stored_at = blob.at.rfc3339(state.zone);
    let stored = Stored { digest, bytes: blob.bytes, stored_at };
    let mut response = answer::json_response(status, &stored)?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/attachments/{}", about.digest)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// What the header says that the file is: `None` where it leaves that to the file.
fn declared_type(headers: &HeaderMap) -> Result<Option<Content>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let named = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    match named.to_ascii_lowercase().as_str() {
        "application/octet-stream" => Ok(None),
        "image/jpeg" => Ok(Some(Content::Jpeg)),
        "image/png" => Ok(Some(Content::Png)),
        "application/pdf" => Ok(Some(Content::Pdf)),
        "application/msword" | "application/vnd.ms-excel" => Ok(Some(Content::Compound)),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
        | "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => {
            Ok(Some(Content::Zip))
        }
        _ => {
            let detail = "expected the media type of the file as Content-Type";
            let mut problem = Problem::new(Code::UnsupportedMediaType, detail);
            problem.next = "set Content-Type to what the file is, or application/octet-stream";
            Err(problem)
        }
    }
}

/// A file as it comes in.
struct Receiving {
    /// None where the file is only compared.
    writer: Option<Box<dyn BlobWriter>>,
    hash: Context,
    first: Vec<u8>,
    bytes: u64,
}

impl Receiving {
    fn new(writer: Option<Box<dyn BlobWriter>>) -> Self {
        Self { writer, hash: Context::new(&SHA256), first: Vec::new(), bytes: 0 }
    }

    /// Takes the next bytes. Blocks.
    fn take(&mut self, piece: &[u8]) -> Result<(), BlobError> {
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
        let lacks = CONTENT_BYTES.saturating_sub(self.first.len()).min(piece.len());
        self.first.extend_from_slice(piece.get(..lacks).unwrap_or_default());
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(piece))
    }

    fn check(&self, digest: &Digest) -> Result<(), Problem> {
        if self.hash.clone().finish().as_ref() == digest.bytes() {
            return Ok(());
        }
        Err(wrong("/digest", "the file that was sent has another SHA-256; nothing of it was kept"))
    }

    fn content(&self, state: &State, declared: Option<Content>) -> Result<Content, Problem> {
        if self.bytes == 0 {
            let mut problem = Problem::new(Code::UnsupportedMediaType, "the file is empty");
            problem.next = "send the bytes of the file as the body";
            return Err(problem);
        }
        let formats = &state.attachment_formats;
        let content = Content::of(&self.first)
            .filter(|content| formats.iter().any(|format| format.content() == *content))
            .filter(|content| declared.is_none_or(|declared| declared == *content));
        content.ok_or_else(|| {
            let formats: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            let formats = formats.join(", ");
            let detail = match declared {
                None => format!("by its first bytes the file is none of {formats}"),
                Some(_) => format!(
                    "by its first bytes the file is not what Content-Type says, or none of {formats}"
                ),
            };
            let mut problem = Problem::new(Code::UnsupportedMediaType, detail);
            problem.next = "send a file of one of these formats, with its own media type or \
                            application/octet-stream as Content-Type";
            problem
        })
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the file has more than {bytes_max} bytes");
    let mut problem = Problem::new(Code::BodyTooLarge, detail);
    problem.next = "send a smaller file, or have the operators raise attachments.bytes_max";
    problem
}

/// Reads a whole body, in the time that it may take.
async fn receive(state: &State, body: Body, into: Receiving) -> Result<Receiving, Problem> {
    let limits = state.limits.attachment;
    let reading = pieces(state, body, into);
    tokio::time::timeout(limits.timeout, reading).await.unwrap_or_else(|_| {
        let detail = format!("the file took longer than {} s", limits.timeout.as_secs());
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

async fn pieces(state: &State, mut body: Body, into: Receiving) -> Result<Receiving, Problem> {
    let most = state.limits.attachment.bytes_max as u64;
    let (mut receiving, mut piece) = (into, BytesMut::new());
    loop {
        let frame = body.frame().await.transpose();
        let cut = |_| Problem::new(Code::Malformed, "the file ended before its time");
        let is_over = match frame.map_err(cut)? {
            None => true,
            Some(frame) => {
                piece.extend_from_slice(&frame.into_data().unwrap_or_default());
                false
            }
        };
        if receiving.bytes + piece.len() as u64 > most {
            return Err(too_large(state.limits.attachment.bytes_max));
        }
        if is_over || piece.len() >= PIECE {
            if receiving.writer.is_some() {
                has_room(state)?;
            }
            let taken = piece.split().freeze();
            let (back, result) = blocking(move || {
                let result = receiving.take(&taken);
                (receiving, result)
            })
            .await?;
            receiving = back;
            result.map_err(|error| refused(&error))?;
        }
        if is_over {
            return Ok(receiving);
        }
    }
}

/// Gives a file back to its institution.
#[utoipa::path(
    get,
    path = "/v1/attachments/{digest}",
    operation_id = "attachment",
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits")),
    responses(
        (status = 200, description = "The file", body = [u8], content_type = "application/octet-stream"),
        (status = 404, description = "Not there, or not yours", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "record_damaged: it is damaged on our disk", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn show(
    Taken(state): Taken<Shared>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let about = About::of(&state, &caller, Scope::Read, &digest)?;
    // What is not there needs no place.
    about.known(&state).await?;
    let place = state.transfers.place_down(&about.code).await?;
    // Read to its end before its first byte goes out: only that proves it whole.
    let read = stored::read(&state.engine, &state.blobs, about.name).await;
    let (blob, bytes) = read
        .map_err(|error| refused(&error))?
        .ok_or_else(|| Problem::not_found(Sought::Attachment))?;
    Ok(described(&blob, Body::new(Leaving::new(bytes, place))))
}

/// Says whether a file is there.
#[utoipa::path(
    head,
    path = "/v1/attachments/{digest}",
    operation_id = "hasAttachment",
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits")),
    responses(
        (status = 200, description = "It is there, with the size that Content-Length says"),
        (status = 404, description = "Not there, or not yours"),
    ),
    security(("key" = []))
)]
pub(super) async fn is_there(
    Taken(state): Taken<Shared>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let about = About::of(&state, &caller, Scope::Read, &digest)?;
    let blob = about.known(&state).await?;
    let mut response = described(&blob, Body::empty());
    response.headers_mut().insert(header::CONTENT_LENGTH, blob.bytes.into());
    Ok(response)
}

fn described(blob: &Blob, body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(blob.content.media_type());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    // Whatever somebody has uploaded is never to be shown as a page of ours.
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    response
}
