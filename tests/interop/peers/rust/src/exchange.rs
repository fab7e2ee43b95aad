//! The three test protocols, as their server and as their client.

use std::future::Future;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, io, try_join};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use serde_json::json;
use sha2::{Digest, Sha256};
use shake::{
    Shake256,
    digest::{ExtendableOutput, Update, XofReader},
};

use crate::{Failure, emit};

const ECHO: StreamProtocol = StreamProtocol::new("/towpath-test/echo/1.0.0");
const LATE: StreamProtocol = StreamProtocol::new("/towpath-test/late-answer/1.0.0");
const EARLY: StreamProtocol = StreamProtocol::new("/towpath-test/early-close/1.0.0");

const SIDE_BYTES: u64 = 1 << 20;
const REQUEST_BYTES: u64 = 1024;
const GREETING: &[u8] = b"towpath";
const CHUNK: usize = 1 << 16;

/// Hashes and counts what passes.
#[derive(Default)]
struct Tally {
    hash: Sha256,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, chunk: &[u8]) {
        Digest::update(&mut self.hash, chunk);
        self.bytes += chunk.len() as u64;
    }

    fn sum(&self) -> String {
        let digest = self.hash.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Writes SHAKE-256 of the seed, read to `size` bytes: every peer derives the same bytes from a seed.
async fn expand(
    seed: &[u8],
    mut size: u64,
    out: &mut (impl io::AsyncWrite + Unpin),
) -> io::Result<Tally> {
    let mut source = Shake256::default().chain(seed).finalize_xof();
    let mut tally = Tally::default();
    let mut chunk = vec![0; CHUNK];
    while size > 0 {
        let part = &mut chunk[..size.min(CHUNK as u64) as usize];
        source.read(part);
        out.write_all(part).await?;
        tally.add(part);
        size -= part.len() as u64;
    }
    out.close().await?;
    Ok(tally)
}

async fn absorb(input: &mut (impl io::AsyncRead + Unpin)) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk).await? {
            0 => return Ok(tally),
            n => tally.add(&chunk[..n]),
        }
    }
}

async fn echo(mut stream: Stream) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk).await? {
            0 => break,
            n => {
                stream.write_all(&chunk[..n]).await?;
                stream.flush().await?;
                tally.add(&chunk[..n]);
            }
        }
    }
    stream.close().await?;
    Ok(tally)
}

async fn answer_late(mut stream: Stream) -> io::Result<Tally> {
    let mut request = Vec::new();
    (&mut stream)
        .take(SIDE_BYTES)
        .read_to_end(&mut request)
        .await?;
    expand(&request, SIDE_BYTES, &mut stream).await?;
    let mut tally = Tally::default();
    tally.add(&request);
    Ok(tally)
}

async fn close_early(mut stream: Stream) -> io::Result<Tally> {
    stream.write_all(GREETING).await?;
    stream.close().await?;
    absorb(&mut stream).await
}

fn handle<F>(
    control: &mut Control,
    protocol: StreamProtocol,
    handler: fn(Stream) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = io::Result<Tally>> + Send + 'static,
{
    let mut incoming = control.accept(protocol.clone())?;
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            let name = protocol.to_string();
            tokio::spawn(async move {
                match handler(stream).await {
                    Ok(got) => emit(
                        "served",
                        json!({ "protocol": name, "bytes": got.bytes, "sha256": got.sum() }),
                    ),
                    Err(error) => emit(
                        "failed",
                        json!({ "protocol": name, "message": error.to_string() }),
                    ),
                }
            });
        }
    });
    Ok(())
}

pub fn serve(control: &mut Control) -> Result<(), Failure> {
    handle(control, ECHO, echo)?;
    handle(control, LATE, answer_late)?;
    handle(control, EARLY, close_early)
}

/// Runs the three exchanges with a connected peer and prints what they brought.
pub async fn dial(
    control: &mut Control,
    target: PeerId,
    seed: &str,
    size: u64,
) -> Result<(), Failure> {
    let seed = seed.as_bytes();

    let (mut reader, mut writer) = control.open_stream(target, ECHO).await?.split();
    let (sent, received) = try_join!(expand(seed, size, &mut writer), absorb(&mut reader))?;
    emit(
        "echo",
        json!({
            "sent": sent.bytes, "sent_sha256": sent.sum(),
            "received": received.bytes, "received_sha256": received.sum(),
        }),
    );

    let mut stream = control.open_stream(target, LATE).await?;
    expand(seed, REQUEST_BYTES, &mut stream).await?;
    let received = absorb(&mut stream).await?;
    emit(
        "late-answer",
        json!({ "received": received.bytes, "received_sha256": received.sum() }),
    );

    let mut stream = control.open_stream(target, EARLY).await?;
    let mut greeting = Vec::new();
    (&mut stream)
        .take(SIDE_BYTES)
        .read_to_end(&mut greeting)
        .await?;
    let sent = expand(seed, SIDE_BYTES, &mut stream).await?;
    emit(
        "early-close",
        json!({
            "greeting": String::from_utf8_lossy(&greeting),
            "sent": sent.bytes, "sent_sha256": sent.sum(),
        }),
    );
    Ok(())
}
