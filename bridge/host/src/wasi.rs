// SPDX-License-Identifier: Apache-2.0
//! WASI for a call: nothing but clocks and random numbers unless C's configuration says so.
//!
//! Output goes to C at once and is never buffered here, so a flood costs the host nothing that C
//! did not agree to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::{self, OutputStream, Pollable, StreamError, StreamResult, bindings};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiView, async_trait};

use crate::fail::{Fail, FailureKind, Stopped};
use crate::ffi::{CallConfig, STDERR, STDOUT, Span, slice};
use crate::limits::{Ctx, HostRef};

/// The most a guest may hand over in one write; what `check-write` answers.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Links WASI 0.2 one interface at a time, so that sockets exist only where they were asked for.
pub fn link(l: &mut Linker<Ctx>, sockets: bool) -> wasmtime::Result<()> {
    use bindings::{cli, filesystem, random};
    p2::add_to_linker_proxy_interfaces_async(l)?; // io, clocks, random, standard streams
    random::insecure::add_to_linker::<Ctx, WasiRandom>(l, WasiRandomView::random)?;
    random::insecure_seed::add_to_linker::<Ctx, WasiRandom>(l, WasiRandomView::random)?;
    cli::exit::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::environment::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<Ctx, WasiCli>(l, WasiCliView::cli)?;
    filesystem::types::add_to_linker::<Ctx, WasiFilesystem>(l, WasiFilesystemView::filesystem)?;
    filesystem::preopens::add_to_linker::<Ctx, WasiFilesystem>(l, WasiFilesystemView::filesystem)?;
    if sockets {
        link_sockets(l)?;
    }
    Ok(())
}

fn link_sockets(l: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    use bindings::sockets as s;
    let get = WasiSocketsView::sockets;
    s::tcp::add_to_linker::<Ctx, WasiSockets>(l, get)?;
    s::udp::add_to_linker::<Ctx, WasiSockets>(l, get)?;
    s::tcp_create_socket::add_to_linker::<Ctx, WasiSockets>(l, get)?;
    s::udp_create_socket::add_to_linker::<Ctx, WasiSockets>(l, get)?;
    s::instance_network::add_to_linker::<Ctx, WasiSockets>(l, get)?;
    s::network::add_to_linker::<Ctx, WasiSockets>(l, &s::network::LinkOptions::default(), get)?;
    s::ip_name_lookup::add_to_linker::<Ctx, WasiSockets>(l, get)
}

/// Builds the WASI context of a call.
///
/// # Safety
/// The spans and arrays of `config` are readable.
pub unsafe fn context(c: &HostRef, config: &CallConfig) -> Result<WasiP1Ctx, Fail> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.max_random_size(config.random_bytes_max)
        .stdout(Output { c: c.clone(), stream: STDOUT })
        .stderr(Output { c: c.clone(), stream: STDERR });
    // Safety: the caller's promise, for all three arrays and what they point to.
    let (args, env, preopens) = unsafe {
        (
            slice(config.args, config.args_len),
            slice(config.env, config.env_len),
            slice(config.preopens, config.preopens_len),
        )
    };
    for arg in args {
        // Safety: as above.
        wasi.arg(unsafe { arg.text("an argument") }?);
    }
    for pair in env.chunks_exact(2) {
        // Safety: as above.
        let (name, value) = unsafe { (pair[0].text("a variable")?, pair[1].text("a variable")?) };
        wasi.env(name, value);
    }
    for preopen in preopens {
        // Safety: as above.
        let (host, guest) =
            unsafe { (preopen.host_path.text("a folder")?, preopen.guest_path.text("a folder")?) };
        let perms = if preopen.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(host, guest, perms).map_err(|e| {
            let why = e.root_cause();
            Fail::new(FailureKind::Config, format!("cannot open the folder for {guest:?}: {why}"))
        })?;
    }
    if config.inherit_stdin {
        wasi.inherit_stdin();
    }
    if config.inherit_network {
        wasi.inherit_network().allow_ip_name_lookup(true);
    }
    let mut wasi = wasi.build_p1();
    wasi.ctx().table.set_max_capacity(config.handles_max as usize);
    Ok(wasi)
}

/// Standard output or error of a guest: every write is one call of C.
#[derive(Clone)]
struct Output {
    c: HostRef,
    stream: u32,
}

impl Output {
    fn put(&self, bytes: &[u8]) -> Result<(), Stopped> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(write) = self.c.host.write else { return Err(Stopped) };
        // Safety: `user` is valid until the call is freed; the bytes live through the call.
        let more = unsafe { write(self.c.user, self.stream, Span::new(bytes)) };
        if more { Ok(()) } else { Err(Stopped) }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("write exceeded the permit of check-write"));
        }
        self.put(&bytes).map_err(|stopped| StreamError::Trap(stopped.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        Poll::Ready(self.put(bytes).map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
