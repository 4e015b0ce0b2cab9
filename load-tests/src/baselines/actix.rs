//! actix-web answering the same bytes from memory, in a process of its own as the node is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;

/// Threads that serve, as the node's REST has them.
const WORKERS: usize = twin_node::limits::WORKERS;

/// The hidden subcommand: serves the file's bytes as a twin until its standard input ends.
pub(crate) fn serve(body: &Path) -> anyhow::Result<()> {
    crate::node::die_with_stdin();
    let body = Bytes::from(std::fs::read(body).with_context(|| format!("the body {}", body.display()))?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let server = HttpServer::new(move || {
        let body = body.clone();
        let answer = move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").insert_header(("ETag", "\"1\"")).body(body) }
        };
        App::new().route("/api/v1/twins/{id}", web::get().to(answer))
    });
    actix_web::rt::System::new().block_on(server.workers(WORKERS).listen(listener)?.run())?;
    Ok(())
}

/// It as a process; killed when dropped.
pub(crate) struct ActixProcess {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl ActixProcess {
    /// Starts it to serve this body; the file is only for handing it over.
    pub(crate) fn start(body: &[u8], file: &Path) -> anyhow::Result<Self> {
        std::fs::write(file, body)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("actix-baseline").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("actix-web")?;
        let stdout = child.stdout.take().context("its stdout")?;
        // Dropping it on the way out kills the child.
        let mut process = Self { child, addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        process.addr = line.trim().parse().with_context(|| format!("actix-web said {line:?}"))?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ActixProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
