// SPDX-License-Identifier: Apache-2.0
//! `wasi:http/types` and `outgoing-handler` for a guest: those of the crate, with every byte that
//! they keep for the guest charged to C first, texts bounded, and requests of the guest's own asked
//! of C.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime::{Result, bail};
use wasmtime_wasi::p2::bindings::io::streams::{InputStream, OutputStream as OutputResource};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiView, async_trait};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, Duration, ErrorCode, IoError, Method, Scheme, StatusCode, Trailers,
};
use wasmtime_wasi_http::p2::body::{
    HostFutureTrailers, HostIncomingBody, HostOutgoingBody, StreamContext,
};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest,
    HostOutgoingResponse, HostResponseOutparam,
};
use wasmtime_wasi_http::p2::{HeaderError, HeaderResult, HttpError, HttpResult};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, FieldMap, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks,
};

use crate::fail::{Stopped, one_line};
use crate::ffi::{CallConfig, Field, HttpRequest, Span};
use crate::http::{Answer, Flow, Flowing, Slot, empty_body, put};
use crate::limits::{Ctx, HostRef};

/// What a name or value takes beside its text.
const FIELD_BYTES: u64 = 64;
const METHOD_BYTES_MAX: usize = 64;
const AUTHORITY_BYTES_MAX: usize = 1024;
const PATH_BYTES_MAX: usize = 16 * 1024;
const ERROR_TEXT_BYTES_MAX: usize = 2048;

/// The part of a store that belongs to `wasi:http`.
pub struct State {
    ctx: WasiHttpCtx,
    hooks: Hooks,
    held: Held,
    pub slot: Slot,
}

impl State {
    pub fn new(c: &HostRef, config: &CallConfig) -> State {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(config.http_fields_bytes_max.try_into().unwrap_or(usize::MAX));
        State {
            ctx,
            hooks: Hooks { chunk: config.http_chunk_bytes.max(1) as usize },
            held: Held { c: c.clone(), of: HashMap::new() },
            slot: Slot::default(),
        }
    }
}

struct Hooks {
    chunk: usize,
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    /// As by default, without an allocation for each field.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.chunk
    }

    /// Not reached: `View::handle` asks C.
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

// ---- what is charged ----

#[derive(Default)]
struct Charge {
    bytes: u64,
    body: Option<Arc<Flow>>,
}

/// Charges by the number of the resource that keeps the bytes.
struct Held {
    c: HostRef,
    of: HashMap<u32, Charge>,
}

impl Held {
    fn add(&mut self, rep: u32, bytes: u64) -> Result<(), Stopped> {
        self.c.charge(bytes)?;
        self.of.entry(rep).or_default().bytes += bytes;
        Ok(())
    }

    /// To what it really is, which is less.
    fn settle(&mut self, rep: u32, bytes: u64) {
        if let Some(charge) = self.of.get_mut(&rep)
            && charge.bytes > bytes
        {
            self.c.uncharge(charge.bytes - bytes);
            charge.bytes = bytes;
        }
    }

    /// The resource is gone; whoever takes the charge owns it.
    fn take(&mut self, rep: u32) -> Charge {
        self.of.remove(&rep).unwrap_or_default()
    }

    fn forget(&mut self, rep: u32) {
        let charge = self.take(rep);
        self.c.uncharge(charge.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.c.uncharge(self.of.values().map(|charge| charge.bytes).sum());
    }
}

fn weight(map: &HeaderMap) -> u64 {
    let names: u64 = map.keys().map(|name| name.as_str().len() as u64 + FIELD_BYTES).sum();
    names + map.values().map(|value| value.len() as u64 + FIELD_BYTES).sum::<u64>()
}

fn weight_of(name: &str, values: &[Vec<u8>]) -> u64 {
    let values: u64 = values.iter().map(|value| value.len() as u64 + FIELD_BYTES).sum();
    name.len() as u64 + FIELD_BYTES + values
}

/// The stream into a body: empty writes are none, and what is written is charged.
struct Metered {
    inner: Box<dyn OutputStream>,
    flow: Arc<Flow>,
}

#[async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let len = bytes.len();
        if len == 0 {
            return self.inner.flush();
        }
        self.flow.charge(len).map_err(|stopped| StreamError::Trap(stopped.into()))?;
        self.inner.write(bytes).inspect_err(|_| self.flow.uncharge(len as u64))
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }
}

// ---- the interfaces ----

/// The crate's view of a store, and our books.
pub struct View<'a> {
    pub http: WasiHttpCtxView<'a>,
    held: &'a mut Held,
    slot: &'a Slot,
    chunk: usize,
}

struct Http;

impl HasData for Http {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    pub fn of(ctx: &mut Ctx) -> View<'_> {
        let State { ctx: http, hooks, held, slot } = &mut ctx.http;
        let chunk = hooks.chunk;
        let table = ctx.wasi.ctx().table;
        View { http: WasiHttpCtxView { hooks, table, ctx: http }, held, slot, chunk }
    }

    fn body(&mut self, context: StreamContext, size: Option<u64>) -> (HostOutgoingBody, Flowing) {
        let (host, body) = HostOutgoingBody::new(context, size, 1, self.chunk);
        (host, Flowing { body, flow: Flow::new(&self.held.c) })
    }
}

pub fn link(linker: &mut Linker<Ctx>, egress: bool) -> Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<Ctx, Http>(linker, &options, View::of)?;
    if egress {
        outgoing_handler::add_to_linker::<Ctx, Http>(linker, View::of)?;
    }
    Ok(())
}

/// "internal-error: text": the case of the WIT variant, and what it says.
fn error_text(code: &ErrorCode) -> String {
    struct Case(String);
    impl fmt::Write for Case {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            for c in part.chars() {
                if c == ':' {
                    self.0.clear(); // "ErrorCode::" before the case
                    continue;
                }
                if !c.is_ascii_alphanumeric() {
                    return Err(fmt::Error);
                }
                if c.is_ascii_uppercase() && !self.0.is_empty() {
                    self.0.push('-');
                }
                self.0.push(c.to_ascii_lowercase());
            }
            Ok(())
        }
    }
    let mut case = Case(String::new());
    let _ = fmt::write(&mut case, format_args!("{code:?}")); // the error says that it was cut
    match code {
        ErrorCode::InternalError(Some(text)) => {
            format!("{}: {}", case.0, one_line(text, ERROR_TEXT_BYTES_MAX))
        }
        _ => case.0,
    }
}

macro_rules! as_the_crate {
    ($interface:path; $(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(fn $name(&mut self, $($arg: $ty),*) -> $ret {
            <WasiHttpCtxView<'_> as $interface>::$name(&mut self.http, $($arg),*)
        })*
    };
}

type Tried<T> = Result<Result<T, ()>>;

impl types::Host for View<'_> {
    as_the_crate! { types::Host;
        fn convert_error_code(err: HttpError) -> Result<ErrorCode>;
        fn convert_header_error(err: HeaderError) -> Result<types::HeaderError>;
    }

    fn http_error_code(&mut self, err: Resource<IoError>) -> Result<Option<ErrorCode>> {
        let error = self.http.table.get(&err)?;
        Ok(match error.downcast_ref::<Error>() {
            Some(Error::ConnectionTerminated) => Some(ErrorCode::ConnectionTerminated),
            Some(Error::HttpRequestDenied) => Some(ErrorCode::HttpRequestDenied),
            Some(_) => Some(ErrorCode::InternalError(None)),
            None => error.downcast_ref::<ErrorCode>().cloned(),
        })
    }
}

impl types::HostFields for View<'_> {
    as_the_crate! { types::HostFields;
        fn new() -> Result<Resource<FieldMap>>;
        fn get(fields: Resource<FieldMap>, name: String) -> Result<Vec<Vec<u8>>>;
        fn has(fields: Resource<FieldMap>, name: String) -> Result<bool>;
        fn entries(fields: Resource<FieldMap>) -> Result<Vec<(String, Vec<u8>)>>;
    }

    fn from_list(&mut self, entries: Vec<(String, Vec<u8>)>) -> HeaderResult<Resource<FieldMap>> {
        let fields = self.http.table.push(FieldMap::default())?; // its number, to charge it
        let rep = fields.rep();
        let bytes = entries
            .iter()
            .map(|(name, value)| name.len() as u64 + value.len() as u64 + 2 * FIELD_BYTES);
        self.held.add(rep, bytes.sum()).map_err(HeaderError::trap)?;
        let made = types::HostFields::from_list(&mut self.http, entries);
        let made = match made {
            Ok(made) => self.http.table.delete(made)?,
            Err(e) => {
                self.held.forget(rep);
                self.http.table.delete(fields)?;
                return Err(e);
            }
        };
        *self.http.table.get_mut(&fields)? = made;
        Ok(fields)
    }

    fn set(
        &mut self,
        fields: Resource<FieldMap>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> HeaderResult<()> {
        let rep = fields.rep();
        self.held.add(rep, weight_of(&name, &values)).map_err(HeaderError::trap)?;
        let done = types::HostFields::set(&mut self.http, Resource::new_borrow(rep), name, values);
        let now = weight(self.http.table.get(&fields)?);
        self.held.settle(rep, now);
        done
    }

    fn delete(&mut self, fields: Resource<FieldMap>, name: String) -> HeaderResult<()> {
        let rep = fields.rep();
        types::HostFields::delete(&mut self.http, Resource::new_borrow(rep), name)?;
        let now = weight(self.http.table.get(&fields)?);
        self.held.settle(rep, now);
        Ok(())
    }

    fn append(
        &mut self,
        fields: Resource<FieldMap>,
        name: String,
        value: Vec<u8>,
    ) -> HeaderResult<()> {
        let rep = fields.rep();
        let bytes = name.len() as u64 + value.len() as u64 + 2 * FIELD_BYTES;
        self.held.add(rep, bytes).map_err(HeaderError::trap)?;
        let done = types::HostFields::append(&mut self.http, fields, name, value);
        if done.is_err() {
            let before = self.held.of.get(&rep).map_or(0, |charge| charge.bytes) - bytes;
            self.held.settle(rep, before);
        }
        done
    }

    fn clone(&mut self, fields: Resource<FieldMap>) -> Result<Resource<FieldMap>> {
        let bytes = weight(self.http.table.get(&fields)?);
        let copy = types::HostFields::clone(&mut self.http, fields)?;
        self.held.add(copy.rep(), bytes)?;
        Ok(copy)
    }

    fn drop(&mut self, fields: Resource<FieldMap>) -> Result<()> {
        let rep = fields.rep();
        types::HostFields::drop(&mut self.http, fields)?;
        self.held.forget(rep);
        Ok(())
    }
}

impl types::HostIncomingRequest for View<'_> {
    as_the_crate! { types::HostIncomingRequest;
        fn method(id: Resource<HostIncomingRequest>) -> Result<Method>;
        fn path_with_query(id: Resource<HostIncomingRequest>) -> Result<Option<String>>;
        fn scheme(id: Resource<HostIncomingRequest>) -> Result<Option<Scheme>>;
        fn authority(id: Resource<HostIncomingRequest>) -> Result<Option<String>>;
        fn headers(id: Resource<HostIncomingRequest>) -> Result<Resource<FieldMap>>;
        fn consume(id: Resource<HostIncomingRequest>) -> Tried<Resource<HostIncomingBody>>;
        fn drop(id: Resource<HostIncomingRequest>) -> Result<()>;
    }
}

/// Whether a text may be kept for a request of the guest's.
fn short(text: Option<&String>, bytes_max: usize) -> bool {
    text.is_none_or(|text| text.len() <= bytes_max)
}

impl types::HostOutgoingRequest for View<'_> {
    as_the_crate! { types::HostOutgoingRequest;
        fn method(id: Resource<HostOutgoingRequest>) -> Result<Method>;
        fn path_with_query(id: Resource<HostOutgoingRequest>) -> Result<Option<String>>;
        fn scheme(id: Resource<HostOutgoingRequest>) -> Result<Option<Scheme>>;
        fn set_scheme(id: Resource<HostOutgoingRequest>, scheme: Option<Scheme>) -> Tried<()>;
        fn authority(id: Resource<HostOutgoingRequest>) -> Result<Option<String>>;
    }

    fn new(&mut self, headers: Resource<FieldMap>) -> Result<Resource<HostOutgoingRequest>> {
        let charge = self.held.take(headers.rep());
        let made = types::HostOutgoingRequest::new(&mut self.http, headers);
        keep(self.held, charge, made)
    }

    fn body(&mut self, id: Resource<HostOutgoingRequest>) -> Tried<Resource<HostOutgoingBody>> {
        let request = self.http.table.get(&id)?;
        let Some(size) = body_size(request.body.is_some(), &request.headers) else {
            return Ok(Err(()));
        };
        let (host, body) = self.body(StreamContext::Request, size);
        let flow = body.flow.clone();
        self.http.table.get_mut(&id)?.body = Some(body.boxed_unsync());
        let host = self.http.table.push(host)?;
        self.held.of.entry(host.rep()).or_default().body = Some(flow);
        Ok(Ok(host))
    }

    fn set_method(&mut self, id: Resource<HostOutgoingRequest>, method: Method) -> Tried<()> {
        let Method::Other(text) = &method else {
            return types::HostOutgoingRequest::set_method(&mut self.http, id, method);
        };
        if !short(Some(text), METHOD_BYTES_MAX) {
            return Ok(Err(()));
        }
        self.held.add(id.rep(), text.len() as u64)?;
        types::HostOutgoingRequest::set_method(&mut self.http, id, method)
    }

    fn set_path_with_query(
        &mut self,
        id: Resource<HostOutgoingRequest>,
        path: Option<String>,
    ) -> Tried<()> {
        if !short(path.as_ref(), PATH_BYTES_MAX) {
            return Ok(Err(()));
        }
        self.held.add(id.rep(), path.as_ref().map_or(0, |path| path.len() as u64))?;
        types::HostOutgoingRequest::set_path_with_query(&mut self.http, id, path)
    }

    fn set_authority(
        &mut self,
        id: Resource<HostOutgoingRequest>,
        authority: Option<String>,
    ) -> Tried<()> {
        if !short(authority.as_ref(), AUTHORITY_BYTES_MAX) {
            return Ok(Err(()));
        }
        self.held.add(id.rep(), authority.as_ref().map_or(0, |text| text.len() as u64))?;
        types::HostOutgoingRequest::set_authority(&mut self.http, id, authority)
    }

    fn headers(&mut self, id: Resource<HostOutgoingRequest>) -> Result<Resource<FieldMap>> {
        let bytes = weight(&self.http.table.get(&id)?.headers);
        let fields = types::HostOutgoingRequest::headers(&mut self.http, id)?;
        self.held.add(fields.rep(), bytes)?;
        Ok(fields)
    }

    fn drop(&mut self, id: Resource<HostOutgoingRequest>) -> Result<()> {
        let rep = id.rep();
        types::HostOutgoingRequest::drop(&mut self.http, id)?;
        self.held.forget(rep);
        Ok(())
    }
}

/// A charge goes with what took its bytes over.
fn keep<T>(held: &mut Held, charge: Charge, made: Result<Resource<T>>) -> Result<Resource<T>> {
    match &made {
        Ok(made) => {
            held.of.insert(made.rep(), charge);
        }
        Err(_) => held.c.uncharge(charge.bytes),
    }
    made
}

/// What its fields say of the length of a body; None where there cannot be one.
fn body_size(has_body: bool, headers: &HeaderMap) -> Option<Option<u64>> {
    if has_body {
        return None;
    }
    let Some(length) = headers.get(http::header::CONTENT_LENGTH) else { return Some(None) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Some)
}

impl types::HostResponseOutparam for View<'_> {
    as_the_crate! { types::HostResponseOutparam;
        fn drop(id: Resource<HostResponseOutparam>) -> Result<()>;
        fn send_informational(
            id: Resource<HostResponseOutparam>, status: u16, headers: Resource<FieldMap>
        ) -> HttpResult<()>;
    }

    fn set(
        &mut self,
        id: Resource<HostResponseOutparam>,
        response: Result<Resource<HostOutgoingResponse>, ErrorCode>,
    ) -> Result<()> {
        let answer = match response {
            Ok(response) => {
                let charge = self.held.take(response.rep());
                let HostOutgoingResponse { status, headers, body } =
                    self.http.table.delete(response)?;
                // Charged no longer: the head goes to C before anything else is done.
                self.held.c.uncharge(charge.bytes);
                let mut made = http::Response::new(body.unwrap_or_else(empty_body));
                *made.status_mut() = status;
                *made.headers_mut() = headers.into();
                Answer::Response(made, charge.body)
            }
            Err(code) => Answer::Refused(error_text(&code)),
        };
        self.http.table.delete(id)?;
        put(self.slot, answer);
        Ok(())
    }
}

impl types::HostIncomingResponse for View<'_> {
    as_the_crate! { types::HostIncomingResponse;
        fn status(id: Resource<HostIncomingResponse>) -> Result<StatusCode>;
        fn headers(id: Resource<HostIncomingResponse>) -> Result<Resource<FieldMap>>;
        fn consume(id: Resource<HostIncomingResponse>) -> Tried<Resource<HostIncomingBody>>;
        fn drop(id: Resource<HostIncomingResponse>) -> Result<()>;
    }
}

type Got<T> = Result<Option<Tried2<T>>>;
type Tried2<T> = Result<Result<T, ErrorCode>, ()>;

impl types::HostFutureTrailers for View<'_> {
    as_the_crate! { types::HostFutureTrailers;
        fn subscribe(id: Resource<HostFutureTrailers>) -> Result<Resource<DynPollable>>;
        fn get(id: Resource<HostFutureTrailers>) -> Got<Option<Resource<Trailers>>>;
        fn drop(id: Resource<HostFutureTrailers>) -> Result<()>;
    }
}

impl types::HostIncomingBody for View<'_> {
    as_the_crate! { types::HostIncomingBody;
        fn stream(id: Resource<HostIncomingBody>) -> Tried<Resource<InputStream>>;
        fn finish(id: Resource<HostIncomingBody>) -> Result<Resource<HostFutureTrailers>>;
        fn drop(id: Resource<HostIncomingBody>) -> Result<()>;
    }
}

impl types::HostOutgoingResponse for View<'_> {
    as_the_crate! { types::HostOutgoingResponse;
        fn status_code(id: Resource<HostOutgoingResponse>) -> Result<StatusCode>;
    }

    fn new(&mut self, headers: Resource<FieldMap>) -> Result<Resource<HostOutgoingResponse>> {
        let charge = self.held.take(headers.rep());
        let made = types::HostOutgoingResponse::new(&mut self.http, headers);
        keep(self.held, charge, made)
    }

    fn body(&mut self, id: Resource<HostOutgoingResponse>) -> Tried<Resource<HostOutgoingBody>> {
        let response = self.http.table.get(&id)?;
        let Some(size) = body_size(response.body.is_some(), &response.headers) else {
            return Ok(Err(()));
        };
        let (host, body) = self.body(StreamContext::Response, size);
        let flow = body.flow.clone();
        self.http.table.get_mut(&id)?.body = Some(body.boxed_unsync());
        let rep = id.rep();
        let host = self.http.table.push(host)?;
        self.held.of.entry(rep).or_default().body = Some(flow.clone());
        self.held.of.entry(host.rep()).or_default().body = Some(flow);
        Ok(Ok(host))
    }

    /// An informational status is none of a response.
    fn set_status_code(
        &mut self,
        id: Resource<HostOutgoingResponse>,
        status: StatusCode,
    ) -> Tried<()> {
        if status < 200 {
            return Ok(Err(()));
        }
        types::HostOutgoingResponse::set_status_code(&mut self.http, id, status)
    }

    fn headers(&mut self, id: Resource<HostOutgoingResponse>) -> Result<Resource<FieldMap>> {
        let bytes = weight(&self.http.table.get(&id)?.headers);
        let fields = types::HostOutgoingResponse::headers(&mut self.http, id)?;
        self.held.add(fields.rep(), bytes)?;
        Ok(fields)
    }

    fn drop(&mut self, id: Resource<HostOutgoingResponse>) -> Result<()> {
        let rep = id.rep();
        types::HostOutgoingResponse::drop(&mut self.http, id)?;
        self.held.forget(rep);
        Ok(())
    }
}

impl types::HostFutureIncomingResponse for View<'_> {
    as_the_crate! { types::HostFutureIncomingResponse;
        fn get(id: Resource<HostFutureIncomingResponse>) -> Got<Resource<HostIncomingResponse>>;
        fn subscribe(id: Resource<HostFutureIncomingResponse>) -> Result<Resource<DynPollable>>;
        fn drop(id: Resource<HostFutureIncomingResponse>) -> Result<()>;
    }
}

impl types::HostOutgoingBody for View<'_> {
    fn write(&mut self, id: Resource<HostOutgoingBody>) -> Tried<Resource<OutputResource>> {
        let flow = self.held.of.get(&id.rep()).and_then(|charge| charge.body.clone());
        let Some(flow) = flow else { bail!("a body without its books") };
        let Some(inner) = self.http.table.get_mut(&id)?.take_output_stream() else {
            return Ok(Err(()));
        };
        let stream: Box<dyn OutputStream> = Box::new(Metered { inner, flow });
        Ok(Ok(self.http.table.push_child(stream, &id)?))
    }

    fn finish(
        &mut self,
        id: Resource<HostOutgoingBody>,
        trailers: Option<Resource<Trailers>>,
    ) -> HttpResult<()> {
        let Charge { body, .. } = self.held.take(id.rep());
        let charge = trailers.as_ref().map(|fields| self.held.take(fields.rep()));
        if let (Some(flow), Some(charge)) = (&body, charge) {
            flow.adopt(charge.bytes); // they wait behind the last of the body
        }
        types::HostOutgoingBody::finish(&mut self.http, id, trailers)?;
        if let Some(flow) = body {
            flow.finished.store(true, Relaxed);
        }
        Ok(())
    }

    fn drop(&mut self, id: Resource<HostOutgoingBody>) -> Result<()> {
        let rep = id.rep();
        types::HostOutgoingBody::drop(&mut self.http, id)?;
        self.held.forget(rep);
        Ok(())
    }
}

impl types::HostRequestOptions for View<'_> {
    as_the_crate! { types::HostRequestOptions;
        fn new() -> Result<Resource<RequestOptions>>;
        fn connect_timeout(id: Resource<RequestOptions>) -> Result<Option<Duration>>;
        fn set_connect_timeout(
            id: Resource<RequestOptions>, duration: Option<Duration>) -> Tried<()>;
        fn first_byte_timeout(id: Resource<RequestOptions>) -> Result<Option<Duration>>;
        fn set_first_byte_timeout(
            id: Resource<RequestOptions>, duration: Option<Duration>) -> Tried<()>;
        fn between_bytes_timeout(id: Resource<RequestOptions>) -> Result<Option<Duration>>;
        fn set_between_bytes_timeout(
            id: Resource<RequestOptions>, duration: Option<Duration>) -> Tried<()>;
        fn drop(id: Resource<RequestOptions>) -> Result<()>;
    }
}

// ---- requests of the guest's own ----

fn method_text(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(text) => text,
    }
}

impl outgoing_handler::Host for View<'_> {
    /// Every request is asked of C. Nothing is sent yet by any answer but "denied", because C has
    /// no other.
    fn handle(
        &mut self,
        id: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> HttpResult<Resource<HostFutureIncomingResponse>> {
        if let Some(options) = options {
            self.http.table.delete(options)?;
        }
        self.held.forget(id.rep());
        let request = self.http.table.delete(id)?;
        let fields: Vec<Field> = request
            .headers
            .iter()
            .map(|(name, value)| Field {
                key: Span::new(name.as_str().as_bytes()),
                value: Span::new(value.as_bytes()),
            })
            .collect();
        let scheme = match &request.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
            Some(Scheme::Other(text)) => text,
        };
        let text = |text: &Option<String>| Span::new(text.as_deref().unwrap_or("").as_bytes());
        let asked = HttpRequest {
            method: Span::new(method_text(&request.method).as_bytes()),
            scheme: Span::new(scheme.as_bytes()),
            authority: text(&request.authority),
            path_with_query: text(&request.path_with_query),
            fields: fields.as_ptr(),
            fields_len: fields.len(),
        };
        if let Some(egress) = self.held.c.host.http_egress {
            // Safety: `user` is valid until the call is freed; the request lives through the call.
            let _denied = unsafe { egress(self.held.c.user, &asked) };
        }
        Err(ErrorCode::HttpRequestDenied.into())
    }
}
