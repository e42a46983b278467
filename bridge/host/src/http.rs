// SPDX-License-Identifier: Apache-2.0
//! One exchange of `wasi:http`: the request that C passed, the guest that answers, and the response
//! on its way to C.
//!
//! Guest and response are driven together by one future. C is asked for the request's body when the
//! guest reads, and is given the response between two polls of the guest; nothing is spawned, so the
//! only waker is the call's. Frames move when the guest ran or when C woke the call, and both poll
//! this future as a whole.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use wasmtime::component::Resource;
use wasmtime::{Error, Result, Store};
use wasmtime_wasi_http::FieldMapError;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use crate::call::Done;
use crate::fail::{Fail, FailureKind, Stopped};
use crate::ffi::{Field, HttpRequest, IO_END, IO_ERROR, IO_OK, IO_PENDING, Span, slice};
use crate::http_types::View;
use crate::limits::{Ctx, HostRef};

/// Below this a read of the guest gets bytes of its own, so that a trickle does not pin chunks.
const SMALL_READ_BYTES: usize = 4096;

/// Why an exchange failed that neither trapped nor hit a limit of Wasmtime's.
#[derive(Debug)]
enum Broken {
    NoResponse,
    HalfResponse,
    Unfinished,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::NoResponse => "the guest returned without setting a response",
            Broken::HalfResponse => {
                "the guest's response has a content-length but no body of that length"
            }
            Broken::Unfinished => "the guest dropped the body of its response before its end",
        })
    }
}
impl std::error::Error for Broken {}

pub fn kind_of(error: &Error) -> Option<FailureKind> {
    use FieldMapError::{TooManyFields, TotalSizeTooBig};
    if let Some(TooManyFields | TotalSizeTooBig) = error.downcast_ref::<FieldMapError>() {
        return Some(FailureKind::LimitFields);
    }
    match error.downcast_ref::<Broken>()? {
        Broken::NoResponse | Broken::HalfResponse => Some(FailureKind::HttpNoResponse),
        Broken::Unfinished => Some(FailureKind::HttpUnfinished),
    }
}

// ---- memory that the guest makes the host hold ----

impl HostRef {
    pub fn charge(&self, bytes: u64) -> std::result::Result<(), Stopped> {
        // Safety: `user` is valid until the call is freed.
        match self.host.http_charge.is_some_and(|f| unsafe { f(self.user, bytes) }) {
            true => Ok(()),
            false => Err(Stopped),
        }
    }

    pub fn uncharge(&self, bytes: u64) {
        if let Some(f) = self.host.http_uncharge
            && bytes > 0
        {
            // Safety: as above.
            unsafe { f(self.user, bytes) };
        }
    }
}

/// A body between the guest and C: what of it is charged, and whether the guest finished it.
pub struct Flow {
    c: HostRef,
    held: AtomicU64,
    pub finished: AtomicBool,
}

impl Flow {
    pub fn new(c: &HostRef) -> Arc<Flow> {
        Arc::new(Flow { c: c.clone(), held: 0.into(), finished: false.into() })
    }

    pub fn charge(&self, bytes: usize) -> std::result::Result<(), Stopped> {
        self.c.charge(bytes as u64)?;
        self.adopt(bytes as u64);
        Ok(())
    }

    /// Takes over what is charged already.
    pub fn adopt(&self, bytes: u64) {
        self.held.fetch_add(bytes, Relaxed);
    }

    pub fn uncharge(&self, bytes: u64) {
        // One thread at a time has the call, so this cannot race.
        let bytes = bytes.min(self.held.load(Relaxed));
        self.held.fetch_sub(bytes, Relaxed);
        self.c.uncharge(bytes);
    }
}

/// The reading end of a guest's body. What waits in it goes with it.
pub struct Flowing {
    pub body: HyperOutgoingBody,
    pub flow: Arc<Flow>,
}

impl Body for Flowing {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

impl Drop for Flowing {
    fn drop(&mut self) {
        self.flow.uncharge(u64::MAX);
    }
}

// ---- the request ----

/// The body of a request, read from C when the guest reads.
pub struct RequestBody {
    c: HostRef,
    room: Vec<u8>,
    charged: bool, // for one chunk, wherever it is
    chunk: usize,
    ended: bool,
}

impl RequestBody {
    /// The guest waits for C, which wakes the call.
    fn read(
        &mut self,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, wasmtime_wasi_http::Error>>> {
        use wasmtime_wasi_http::Error::{ConnectionTerminated, InternalError};
        let Some(read) = self.c.host.http_request_body else { return Poll::Ready(None) };
        if !self.charged && self.c.charge(self.chunk as u64).is_err() {
            self.ended = true; // and C ends the call
            return Poll::Ready(Some(Err(InternalError(None))));
        }
        self.charged = true;
        self.room.reserve_exact(self.chunk);
        let mut len = 0;
        // Safety: `user` is valid until the call is freed; the room has that capacity.
        let io = unsafe { read(self.c.user, self.room.as_mut_ptr(), self.chunk, &mut len) };
        match io {
            IO_OK if len == 0 => Poll::Pending,
            IO_OK => {
                // Safety: C wrote so many bytes, at most `chunk`.
                unsafe { self.room.set_len(len.min(self.chunk)) };
                Poll::Ready(Some(Ok(Frame::data(self.take()))))
            }
            IO_PENDING => Poll::Pending,
            IO_END => {
                self.ended = true;
                Poll::Ready(self.trailers().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            _ => {
                self.ended = true;
                Poll::Ready(Some(Err(ConnectionTerminated)))
            }
        }
    }

    fn take(&mut self) -> Bytes {
        if self.room.len() <= SMALL_READ_BYTES {
            let bytes = Bytes::copy_from_slice(&self.room);
            self.room.clear();
            return bytes;
        }
        // It is read up before the next is asked for.
        Bytes::from(std::mem::take(&mut self.room))
    }

    fn trailers(&self) -> Option<HeaderMap> {
        let (mut fields, mut len) = (std::ptr::null(), 0);
        if let Some(trailers) = self.c.host.http_request_trailers {
            // Safety: `user` is valid until the call is freed.
            unsafe { trailers(self.c.user, &mut fields, &mut len) };
        }
        // Safety: C promises readable fields. What is no field is left out: the guest did not ask
        // for it by name, and the body is complete.
        let map = unsafe { fields_of(slice(fields, len)) }.ok()?;
        (!map.is_empty()).then_some(map)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        if self.ended { Poll::Ready(None) } else { self.read() }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.charged {
            self.c.uncharge(self.chunk as u64);
        }
    }
}

/// # Safety
/// The spans of the fields are readable.
unsafe fn fields_of(fields: &[Field]) -> std::result::Result<HeaderMap, Fail> {
    let bad = |what: &dyn fmt::Display| {
        Fail::new(FailureKind::HttpRequest, format!("a field of the request is wrong: {what}"))
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        // Safety: the caller's promise.
        let (name, value) = unsafe { (field.key.bytes(), field.value.bytes()) };
        let name = HeaderName::from_bytes(name).map_err(|e| bad(&e))?;
        let value = HeaderValue::from_bytes(value).map_err(|e| bad(&e))?;
        map.try_append(name, value).map_err(|e| bad(&e))?;
    }
    Ok(map)
}

/// What a call needs of C's request after `gbw_call_new` has returned.
pub struct Incoming {
    scheme: Scheme,
    request: http::Request<RequestBody>,
}

impl Incoming {
    /// # Safety
    /// `r` and what it points to are readable.
    pub unsafe fn new(
        c: &HostRef,
        r: &HttpRequest,
        chunk: u32,
    ) -> std::result::Result<Incoming, Fail> {
        let bad =
            |what: String| Fail::new(FailureKind::HttpRequest, format!("the request's {what}"));
        // Safety: the caller's promise.
        let (method, scheme, authority, path, fields) = unsafe {
            (
                r.method.bytes(),
                r.scheme.text("the scheme")?,
                r.authority.bytes(),
                r.path_with_query.bytes(),
                fields_of(slice(r.fields, r.fields_len))?,
            )
        };
        let mut parts = http::uri::Parts::default();
        let path = if path.is_empty() { b"/" } else { path };
        parts.scheme = Some(scheme.parse().map_err(|e| bad(format!("scheme is wrong: {e}")))?);
        parts.authority =
            Some(authority.try_into().map_err(|e| bad(format!("authority is wrong: {e}")))?);
        parts.path_and_query =
            Some(path.try_into().map_err(|e| bad(format!("path is wrong: {e}")))?);
        let uri = Uri::from_parts(parts).map_err(|e| bad(format!("target is wrong: {e}")))?;
        let body = RequestBody {
            c: c.clone(),
            room: Vec::new(),
            charged: false,
            chunk: chunk.max(1) as usize,
            ended: false,
        };
        let mut request = http::Request::new(body);
        *request.method_mut() =
            Method::from_bytes(method).map_err(|e| bad(format!("method is wrong: {e}")))?;
        *request.uri_mut() = uri;
        *request.headers_mut() = fields;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        };
        Ok(Incoming { scheme, request })
    }
}

// ---- the response ----

/// What the guest put into its response-outparam.
pub enum Answer {
    Refused(String),
    Response(http::Response<HyperOutgoingBody>, Option<Arc<Flow>>),
}

/// Filled from within the guest, emptied between two of its polls.
pub type Slot = Arc<Mutex<Option<Answer>>>;

pub fn put(slot: &Slot, answer: Answer) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
}

enum Stage {
    Waiting,
    Refused(String),
    Flowing { body: HyperOutgoingBody, flow: Option<Arc<Flow>>, bytes: Bytes },
    Ended,
    Broken(Broken),
}

/// The response on its way to C.
struct Pump {
    c: HostRef,
    slot: Slot,
    stage: Stage,
    is_head: bool,
}

impl Pump {
    /// Passes on what there is and C takes; true when the exchange is broken.
    fn step(&mut self) -> bool {
        if matches!(self.stage, Stage::Waiting) {
            let answer = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            match answer {
                None => return false,
                Some(Answer::Refused(text)) => self.stage = Stage::Refused(text),
                Some(Answer::Response(response, flow)) => self.stage = self.head(response, flow),
            }
        }
        while let Stage::Flowing { body, flow, bytes } = &mut self.stage {
            if bytes.is_empty() {
                // Only the guest makes frames, and it is polled before this.
                let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
                let Poll::Ready(frame) = frame else { return false };
                match frame.map(|frame| frame.map(Frame::into_data)) {
                    Some(Ok(Ok(data))) => *bytes = data,
                    Some(Ok(Err(rest))) => {
                        let trailers = rest.into_trailers().unwrap_or_default();
                        self.end(&trailers);
                    }
                    None if flow.as_ref().is_none_or(|f| f.finished.load(Relaxed)) => {
                        self.end(&HeaderMap::new());
                    }
                    None | Some(Err(_)) => self.stage = Stage::Broken(Broken::Unfinished),
                }
                continue;
            }
            match Self::body(&self.c, bytes) {
                None => self.stage = Stage::Ended, // and the guest's stream is closed
                Some(0) => return false,
                Some(taken) => {
                    bytes.advance(taken);
                    if let Some(flow) = flow {
                        flow.uncharge(taken as u64);
                    }
                }
            }
        }
        matches!(self.stage, Stage::Broken(_))
    }

    fn head(&self, response: http::Response<HyperOutgoingBody>, flow: Option<Arc<Flow>>) -> Stage {
        let (parts, body) = response.into_parts();
        let bodiless = self.is_head || parts.status == StatusCode::NOT_MODIFIED;
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        if flow.is_none() && !bodiless && length.is_some_and(|v| v.as_bytes() != b"0") {
            return Stage::Broken(Broken::HalfResponse);
        }
        let fields = c_fields(&parts.headers);
        let io = self.c.host.http_response_head.map_or(IO_ERROR, |head| {
            // Safety: `user` is valid until the call is freed; the fields live through the call.
            unsafe {
                head(self.c.user, parts.status.as_u16().into(), fields.as_ptr(), fields.len())
            }
        });
        match io {
            IO_OK => Stage::Flowing { body, flow, bytes: Bytes::new() },
            _ => Stage::Ended,
        }
    }

    /// How many of the bytes C took; None when it wants no more.
    fn body(c: &HostRef, bytes: &Bytes) -> Option<usize> {
        let mut taken = 0;
        let put = c.host.http_response_body?;
        // Safety: `user` is valid until the call is freed; the bytes live through the call.
        match unsafe { put(c.user, Span::new(bytes), &mut taken) } {
            IO_OK => Some(taken.min(bytes.len())),
            IO_PENDING => Some(0),
            _ => None,
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        let fields = c_fields(trailers);
        if let Some(end) = self.c.host.http_response_end {
            // Safety: `user` is valid until the call is freed; the fields live through the call.
            unsafe { end(self.c.user, fields.as_ptr(), fields.len()) };
        }
        self.stage = Stage::Ended;
    }

    /// After the guest has returned and its store is gone: no frame comes any more that is not
    /// there yet, so only C can be waited for.
    async fn drain(mut self) -> Result<Done> {
        poll_fn(|_| match (self.step(), &self.stage) {
            (false, Stage::Flowing { .. }) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        match self.stage {
            Stage::Ended | Stage::Flowing { .. } => Ok(Done::Ok(String::new())),
            Stage::Refused(text) => Ok(Done::Err(text)),
            Stage::Waiting => Err(Broken::NoResponse.into()),
            Stage::Broken(why) => Err(why.into()),
        }
    }
}

fn c_fields(map: &HeaderMap) -> Vec<Field> {
    map.iter()
        .map(|(name, value)| Field {
            key: Span::new(name.as_str().as_bytes()),
            value: Span::new(value.as_bytes()),
        })
        .collect()
}

// ---- the call ----

pub struct Ran {
    pub done: Result<Done>,
    pub fuel_left: u64,
    pub ready_us: Option<u64>,
}

pub async fn run(
    mut store: Store<Ctx>,
    pre: &ProxyPre<Ctx>,
    incoming: Incoming,
    start: Instant,
) -> Ran {
    let slot = Slot::default();
    let mut pump = Pump {
        c: store.data().c.clone(),
        slot: slot.clone(),
        stage: Stage::Waiting,
        is_head: incoming.request.method() == Method::HEAD,
    };
    let mut ready_us = None;
    let returned = {
        let mut guest = pin!(async {
            let proxy = pre.instantiate_async(&mut store).await?;
            ready_us = Some(start.elapsed().as_micros() as u64);
            let (request, outparam) = resources(store.data_mut(), incoming, slot)?;
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await
        });
        poll_fn(|cx| match guest.as_mut().poll(cx) {
            // What it had not passed on yet is not: a response of a guest that trapped.
            Poll::Ready(returned) => Poll::Ready(Some(returned)),
            Poll::Pending if pump.step() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    let fuel_left = store.get_fuel().unwrap_or(0);
    // The guest's memory goes now: how fast the client reads the rest is not its business.
    drop(store);
    let done = match returned {
        Some(Err(error)) => Err(error),
        Some(Ok(())) | None => pump.drain().await,
    };
    Ran { done, fuel_left, ready_us }
}

fn resources(
    ctx: &mut Ctx,
    incoming: Incoming,
    slot: Slot,
) -> Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>)> {
    ctx.http.slot = slot;
    let View { mut http, .. } = View::of(ctx);
    let Incoming { scheme, request } = incoming;
    let request = http.new_incoming_request(scheme, request)?;
    // `View` puts the answer into the slot itself.
    let outparam = http.table.push(HostResponseOutparam { send: Box::new(|_| ()) })?;
    Ok((request, outparam))
}

/// For a response without a body.
pub fn empty_body() -> HyperOutgoingBody {
    http_body_util::Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}
