//! The bytes of an unfinished chunk, held as the pieces they came in.

use bytes::Bytes;

/// Pieces of fewer bytes than this are joined: a copy is cheaper than to keep track of them, and
/// than to keep the large buffers alive that they may be parts of.
const SMALL: usize = 4096;

/// A sequence of bytes that is made contiguous only once it is complete.
#[derive(Default)]
pub(crate) struct Rope {
    /// The first piece, uncopied and of any size; the other pieces are not small.
    pieces: Vec<Bytes>,
    /// The small pieces since the last of `pieces`; the first piece is never here.
    tail: Vec<u8>,
    len: usize,
}

impl Rope {
    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends `piece`.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        if piece.len() < SMALL && !self.pieces.is_empty() {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).into());
        }
        self.pieces.push(piece);
    }

    /// Removes the last byte and returns it.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.len = self.len.checked_sub(1)?;
        if let Some(byte) = self.tail.pop() {
            return Some(Bytes::copy_from_slice(&[byte]));
        }
        let piece = self.pieces.last_mut()?;
        let byte = piece.split_off(piece.len() - 1);
        if piece.is_empty() {
            self.pieces.pop();
        }
        Some(byte)
    }

    /// Removes all bytes and returns them. A single piece is returned without a copy. Several
    /// pieces are copied into a buffer of exactly their size.
    pub(crate) fn take(&mut self) -> Bytes {
        let whole = match self.pieces.as_slice() {
            [only] if self.tail.is_empty() => only.clone(),
            pieces => {
                let mut whole = Vec::with_capacity(self.len);
                for piece in pieces {
                    whole.extend_from_slice(piece);
                }
                whole.extend_from_slice(&self.tail);
                whole.into()
            }
        };
        self.pieces.clear();
        self.tail.clear();
        self.len = 0;
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: usize) -> Bytes {
        vec![b'x'; len].into()
    }

    #[test]
    fn small_pieces_make_few_pieces() {
        let mut rope = Rope::default();
        for _ in 0..1000 {
            rope.push(piece(1));
            rope.push(piece(SMALL - 1));
        }
        assert_eq!(rope.pieces.len(), 1);
        rope.push(piece(SMALL));
        assert_eq!(rope.pieces.len(), 3);
        assert_eq!(rope.len(), 1001 * SMALL);
        assert_eq!(rope.take(), piece(1001 * SMALL));
    }

    #[test]
    fn bytes_keep_their_order() {
        let mut rope = Rope::default();
        let all: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
        let all = Bytes::from(all);
        let mut rest = all.clone();
        for len in [1, 2, SMALL, 3, SMALL + 1, SMALL - 1, 0, 5, 2 * SMALL].iter().cycle() {
            rope.push(rest.split_to(rest.len().min(*len)));
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(rope.len(), all.len());
        assert_eq!(rope.take(), all);
        assert_eq!(rope.len(), 0);
        assert_eq!(rope.take(), Bytes::new());
    }

    #[test]
    fn a_single_piece_is_not_copied() {
        for len in [1, SMALL, 100_000] {
            let mut rope = Rope::default();
            let piece = piece(len);
            rope.push(piece.clone());
            rope.push(Bytes::new());
            assert_eq!(rope.take().as_ptr(), piece.as_ptr());
        }
    }

    #[test]
    fn several_pieces_are_copied_into_a_buffer_of_their_size() {
        let mut rope = Rope::default();
        for len in [1, SMALL, 7] {
            rope.push(piece(len));
        }
        let whole = rope.take().try_into_mut().unwrap();
        assert_eq!(whole.len(), SMALL + 8);
        assert_eq!(whole.capacity(), SMALL + 8);
    }

    #[test]
    fn pop_takes_the_last_byte_from_tail_and_pieces() {
        let mut rope = Rope::default();
        assert_eq!(rope.pop(), None);
        rope.push(Bytes::from_static(b"a"));
        rope.push(Bytes::from(vec![b'b'; SMALL]));
        rope.push(Bytes::from_static(b"c"));
        assert_eq!(rope.pop().as_deref(), Some(&b"c"[..]));
        assert_eq!(rope.pop().as_deref(), Some(&b"b"[..]));
        assert_eq!(rope.len(), SMALL);
        assert_eq!(rope.take().len(), SMALL);
        rope.push(Bytes::from_static(b"d"));
        assert_eq!(rope.pop().as_deref(), Some(&b"d"[..]));
        assert_eq!(rope.pop(), None);
    }
}
