//! What is sent over a connection.

use std::io;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use crate::message::{Failure, Message};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    /// From the client.
    Call(Message),
    /// From the client: nobody waits for this call any more.
    Cancel(String),
    /// The only answer of a call.
    Answer { id: String, payload: Value },
    /// One answer of several.
    Item { id: String, payload: Value },
    /// After the last item.
    End { id: String },
    /// Instead of an answer, or of the rest of the items.
    Failure { id: String, failure: Failure },
    /// From the server: no more calls.
    Goodbye,
    /// From the client, when it has heard nothing for a while.
    Ping,
    /// From the server, at once.
    Pong,
}

/// A frame that is not understood.
#[derive(Debug)]
pub(super) struct Unread {
    /// Of the call in it, if there is one.
    pub(super) id: Option<String>,
    /// One sentence.
    pub(super) error: String,
}

/// What a frame of a call has at least.
#[derive(Deserialize)]
struct CallFrame {
    call: CallId,
}

#[derive(Deserialize)]
struct CallId {
    id: String,
}

/// Frames of a bounded length.
pub(super) struct Frames {
    codec: LengthDelimitedCodec,
    longest: usize,
}

impl Frames {
    pub(super) fn new(longest: usize) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .max_frame_length(longest)
            .new_codec();
        Self { codec, longest }
    }
}

impl Decoder for Frames {
    type Item = Result<Frame, Unread>;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        let length = buffer
            .first_chunk()
            .map(|length| u32::from_be_bytes(*length));
        let frame = self.codec.decode(buffer).map_err(|error| {
            let longest = self.longest;
            let rule = format!("must be at most {longest}");
            match length {
                Some(length) if length as usize > longest => io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a frame of {length} bytes is refused: {rule}"),
                ),
                _ => error,
            }
        })?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        // Where it ends is known, so the next one can be read.
        Ok(Some(serde_json::from_slice(&frame).map_err(|error| {
            let length = frame.len();
            let call: Option<CallFrame> = serde_json::from_slice(&frame).ok();
            Unread {
                id: call.map(|frame| frame.call.id),
                error: format!("a frame of {length} bytes is not understood: {error}"),
            }
        })))
    }
}

impl Encoder<&Frame> for Frames {
    type Error = io::Error;

    fn encode(&mut self, frame: &Frame, buffer: &mut BytesMut) -> io::Result<()> {
        let bytes = serde_json::to_vec(frame).map_err(io::Error::other)?;
        self.codec.encode(Bytes::from(bytes), buffer)
    }
}
