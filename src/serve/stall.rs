// SPDX-License-Identifier: Apache-2.0
//! An end for those who take bytes too slowly, or not at all.
//!
//! Whoever makes the writer wait has [`TIME`] to take [`LEAST`] bytes, or everything that is there for
//! him: 550 bytes a second, slower than any link that something boots over.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

const TIME: Duration = Duration::from_secs(30);
/// Bytes.
const LEAST: usize = 16 << 10;

/// A connection with that end.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    /// Bytes that were taken since the writer has to wait.
    waiting: Option<usize>,
    time: Duration,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self::with(stream, TIME)
    }

    fn with(stream: S, time: Duration) -> Self {
        Self { stream, timer: Box::pin(tokio::time::sleep(time)), waiting: None, time }
    }

    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        n: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Ok(done)) => {
                let taken = self.waiting.map(|taken| taken + n(&done));
                self.waiting = taken.filter(|taken| *taken < LEAST);
                Poll::Ready(Ok(done))
            }
            Poll::Pending => {
                if self.waiting.is_none() {
                    self.waiting = Some(0);
                    self.timer.as_mut().reset(Instant::now() + self.time);
                }
                match self.timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Pending,
                }
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, outcome, |n| *n)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(cx, outcome, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // Everything has gone.
        self.wrote(cx, outcome, |()| LEAST)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(cx, outcome, |()| LEAST)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn who_takes_nothing_is_left() {
        run(async {
            let (near, _far) = tokio::io::duplex(64);
            let mut stream = Patient::with(near, Duration::from_millis(50));
            let error = stream.write_all(&[0; 1000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn who_is_slow_and_takes_everything_is_served() {
        run(async {
            let (near, mut far) = tokio::io::duplex(64);
            let mut stream = Patient::with(near, Duration::from_millis(200));
            let reader = async {
                let mut all = 0;
                while all < 2000 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    all += far.read(&mut [0; 64]).await.unwrap();
                }
            };
            let writer = async {
                // Each is taken in time, and between them nothing is waited for.
                for _ in 0..10 {
                    stream.write_all(&[0; 200]).await.unwrap();
                    stream.flush().await.unwrap();
                }
            };
            tokio::join!(reader, writer);
        });
    }
}
