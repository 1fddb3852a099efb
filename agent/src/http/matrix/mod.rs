//! The matrix for readers: as JSON, compressed or not, in the compact form, and as a page of text.
//!
//! All readers share one packed matrix. The JSON is written for each reader piece by piece, the
//! other forms are made once. A reader holds no more than a piece, so the memory does not grow with
//! the readers.

mod compact;
mod gzip;
mod json;
mod packed;
mod shelf;

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use strum::Display;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;
use warp::Reply;
use warp::reply::Response;

use crate::render::heatmap::{self, Screen};
use json::JsonPosition;

pub(super) use packed::{Columns, Node, Packed, PackedRow};
pub(super) use shelf::{BUDGET, Edition, Forms, Shelf};

/// The size of a piece that a reader gets.
const PIECE: usize = 32 << 10;
/// The maximum number of cells on the page. Larger tables cannot be read as text.
const PAGE_CELLS: usize = 1 << 16;
/// The number of threads that write matrices at once.
const WRITERS: usize = 2;

/// The permits of the threads that read rows and write matrices. The other threads of the agent
/// have tests to run.
pub(super) fn workshop() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WRITERS))
}

/// A form of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Form {
    Json,
    JsonGzip,
    Compact,
    CompactGzip,
    Page,
}

impl Form {
    pub(super) fn is_compressed(self) -> bool {
        matches!(self, Self::JsonGzip | Self::CompactGzip)
    }
}

/// The reason why a reader gets no more of a matrix.
#[derive(Debug, thiserror::Error)]
pub(super) enum MatrixError {
    #[error("the reader was too slow, and others wait for a new matrix")]
    Withdrawn,
    #[error("cannot write the matrix: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot compress the matrix: {0}")]
    Gzip(#[from] std::io::Error),
    #[error("the writer of the matrix has stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
    #[error("the agent stops")]
    Closed(#[from] tokio::sync::AcquireError),
}

/// A reader of an edition.
struct Reader {
    edition: Arc<Edition>,
    workshop: Arc<Semaphore>,
    position: Position,
    gzip: gzip::Stream,
}

/// The position of a reader after the pieces that it has.
#[derive(Clone, Copy, Debug)]
enum Position {
    Json(JsonPosition),
    JsonGzip(JsonPosition),
    Whole(Whole, usize),
    End,
}

/// A form that is made once for all readers.
#[derive(Clone, Copy, Debug)]
enum Whole {
    Compact,
    CompactGzip,
    Page,
}

/// Returns the answer with `edition` in one of its forms, without its head.
pub(super) async fn answer(
    edition: Arc<Edition>,
    workshop: Arc<Semaphore>,
    form: Form,
) -> Result<Response, MatrixError> {
    let mut reader = Reader {
        edition,
        workshop,
        position: match form {
            Form::Json => Position::Json(JsonPosition::default()),
            Form::JsonGzip => Position::JsonGzip(JsonPosition::default()),
            Form::Compact => Position::Whole(Whole::Compact, 0),
            Form::CompactGzip => Position::Whole(Whole::CompactGzip, 0),
            Form::Page => Position::Whole(Whole::Page, 0),
        },
        gzip: gzip::Stream::default(),
    };
    // An error of the first piece is still an answer, a later one can only cut the answer off.
    let first = reader.next().await?.unwrap_or_default();
    if reader.is_at_end() {
        return Ok(first.to_vec().into_response());
    }
    let rest = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let first = stream::once(ready(Ok::<_, MatrixError>(first)));
    let pieces = first.chain(rest);
    Ok(warp::reply::stream(pieces).into_response())
}

impl Reader {
    fn is_at_end(&self) -> bool {
        matches!(self.position, Position::End)
    }

    fn forms(&self) -> Result<Arc<Forms>, MatrixError> {
        self.edition.forms().ok_or(MatrixError::Withdrawn)
    }

    /// Returns the next piece, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, MatrixError> {
        match self.position {
            Position::End => Ok(None),
            Position::Json(position) => {
                let _permit = self.workshop.acquire().await?;
                let forms = self.forms()?;
                let written = spawn_blocking(move || {
                    let mut piece = Vec::with_capacity(PIECE + 1024);
                    let next = position.write(&forms.packed, &mut piece, PIECE)?;
                    Ok::<_, serde_json::Error>((piece, next))
                });
                let (piece, next) = written.await??;
                self.position = next.map_or(Position::End, Position::Json);
                Ok(Some(piece.into()))
            }
            Position::JsonGzip(at) => {
                let piece = self.gzip_piece(at).await?;
                self.position = piece.next.map_or(Position::End, Position::JsonGzip);
                let is_first = at == JsonPosition::default();
                Ok(Some(self.gzip.append(&piece, is_first)))
            }
            Position::Whole(form, from) => {
                let bytes = whole(&self.forms()?, &self.workshop, form).await?;
                let end = bytes.len().min(from + PIECE);
                self.position = match bytes.len() - end {
                    0 => Position::End,
                    _ => Position::Whole(form, end),
                };
                // A copy: a part of the shared bytes would keep all of them in memory.
                Ok(bytes.get(from..end).map(Bytes::copy_from_slice))
            }
        }
    }

    /// Returns the piece of the compressed JSON at a position.
    async fn gzip_piece(&self, at: JsonPosition) -> Result<Arc<gzip::Piece>, MatrixError> {
        if let Some(piece) = self.forms()?.gzip.get(at) {
            return Ok(piece);
        }
        let _permit = self.workshop.acquire().await?;
        let forms = self.forms()?;
        spawn_blocking(move || forms.gzip.make(&forms.packed, at)).await?
    }
}

/// Returns the bytes of a form.
async fn whole(
    forms: &Arc<Forms>,
    workshop: &Semaphore,
    form: Whole,
) -> Result<Bytes, MatrixError> {
    let of = forms.clone();
    match form {
        Whole::Page => {
            let write = move || Ok(page(&of.packed).into_bytes());
            made(&forms.page, workshop, write).await
        }
        Whole::Compact => {
            let write = move || Ok(compact::write(&of.packed)?);
            made(&forms.compact, workshop, write).await
        }
        Whole::CompactGzip => {
            let compact = Box::pin(whole(forms, workshop, Whole::Compact)).await?;
            let compress = move || Ok(gzip::whole(&compact)?);
            made(&forms.compact_gzip, workshop, compress).await
        }
    }
}

/// Returns the bytes in `cell`, which `make` makes for the first reader.
async fn made(
    cell: &OnceCell<Bytes>,
    workshop: &Semaphore,
    make: impl FnOnce() -> Result<Vec<u8>, MatrixError> + Send + 'static,
) -> Result<Bytes, MatrixError> {
    let made = cell.get_or_try_init(|| async {
        let _permit = workshop.acquire().await?;
        let bytes = spawn_blocking(make).await??;
        Ok::<_, MatrixError>(Bytes::from(bytes))
    });
    made.await.cloned()
}

/// Returns `bytes` compressed. The caller has a permit.
pub(super) async fn compressed(bytes: Bytes) -> Result<Vec<u8>, MatrixError> {
    Ok(spawn_blocking(move || gzip::whole(&bytes)).await??)
}

fn page(packed: &Packed) -> String {
    if packed.places() <= PAGE_CELLS {
        return heatmap::render(&packed.expand(), Screen::PLAIN);
    }
    format!(
        "{} nodes are too many for a table of text. Use `iperf3-mesh matrix`, the dashboards, or \
         /api/v1/matrix.\n",
        packed.nodes.len()
    )
}
