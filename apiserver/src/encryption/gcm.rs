//! GCM (NIST SP 800-38D) with nonces of 12 bytes, for the one key length that ring leaves out. GHASH goes bit by bit, without a
//! branch or a table that depends on what it hashes; Secrets are small.

use aes::{
    Aes192,
    cipher::{BlockEncrypt, KeyInit, consts::U16},
};

pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

/// A cipher of 16-byte blocks, and what its key makes of zeros: GHASH's own key.
pub struct Gcm<C = Aes192> {
    cipher: C,
    hash_key: u128,
}

impl<C: BlockEncrypt + KeyInit + aes::cipher::BlockSizeUser<BlockSize = U16>> Gcm<C> {
    /// `None` for a key of another length.
    pub fn new(key: &[u8]) -> Option<Self> {
        let cipher = C::new_from_slice(key).ok()?;
        let hash_key = encrypted(&cipher, [0; BLOCK_BYTES]);
        Some(Gcm { cipher, hash_key: u128::from_be_bytes(hash_key) })
    }

    /// Encrypts in place; the answer is the tag.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], about: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
        self.counted(nonce, body);
        self.tag(nonce, about, body)
    }

    /// Decrypts, if the tag is right.
    pub fn open(&self, nonce: &[u8; NONCE_BYTES], about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        // As one number, so that the time it takes does not tell where they differ.
        if u128::from_be_bytes(self.tag(nonce, about, body)) != u128::from_be_bytes(*tag) {
            return None;
        }
        let mut body = body.to_vec();
        self.counted(nonce, &mut body);
        Some(body)
    }

    /// Adds the key stream, which begins at the second counter: the first one's is the tag's.
    fn counted(&self, nonce: &[u8; NONCE_BYTES], body: &mut [u8]) {
        for (counter, block) in (2_u32..).zip(body.chunks_mut(BLOCK_BYTES)) {
            let stream = encrypted(&self.cipher, counter_block(nonce, counter));
            block.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
        }
    }

    fn tag(&self, nonce: &[u8; NONCE_BYTES], about: &[u8], body: &[u8]) -> [u8; TAG_BYTES] {
        let bits = |bytes: &[u8]| 8 * bytes.len() as u128;
        let blocks = about.chunks(BLOCK_BYTES).chain(body.chunks(BLOCK_BYTES)).map(padded);
        let lengths = std::iter::once((bits(about) << 64) | bits(body));
        let hash = blocks.chain(lengths).fold(0, |hash, block| times(hash ^ block, self.hash_key));
        (hash ^ u128::from_be_bytes(encrypted(&self.cipher, counter_block(nonce, 1)))).to_be_bytes()
    }
}

fn counter_block(nonce: &[u8; NONCE_BYTES], counter: u32) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..NONCE_BYTES].copy_from_slice(nonce);
    block[NONCE_BYTES..].copy_from_slice(&counter.to_be_bytes());
    block
}

fn encrypted<C: BlockEncrypt + aes::cipher::BlockSizeUser<BlockSize = U16>>(
    cipher: &C,
    block: [u8; BLOCK_BYTES],
) -> [u8; BLOCK_BYTES] {
    let mut block = block.into();
    cipher.encrypt_block(&mut block);
    block.into()
}

fn padded(bytes: &[u8]) -> u128 {
    let mut block = [0; BLOCK_BYTES];
    block[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(block)
}

/// The product in the field of GCM, whose bits are numbered from the left.
fn times(left: u128, right: u128) -> u128 {
    const REDUCTION: u128 = 0xe1 << 120;
    let (mut product, mut shifted) = (0, right);
    for bit in (0..128).rev() {
        product ^= shifted & ((left >> bit) & 1).wrapping_neg();
        shifted = (shifted >> 1) ^ (REDUCTION & (shifted & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aes::{Aes128, Aes256};
    use proptest::prelude::*;
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Test cases 7, 8 and 10 of "The Galois/Counter Mode of Operation" (McGrew and Viega, appendix B).
    #[test]
    fn known_answers_of_192_bit_keys() {
        let zeros: Gcm = Gcm::new(&[0; 24]).unwrap();
        assert_eq!(zeros.seal(&[0; 12], b"", &mut []).to_vec(), hex("cd33b28ac773f74ba00ed1f312572435"));
        let mut body = [0; 16];
        assert_eq!(zeros.seal(&[0; 12], b"", &mut body).to_vec(), hex("2ff58d80033927ab8ef4d4587514f0fb"));
        assert_eq!(body.to_vec(), hex("98e7247c07f0fe411c267e4384b0f600"));

        let gcm: Gcm = Gcm::new(&hex("feffe9928665731c6d6a8f9467308308feffe9928665731c")).unwrap();
        let nonce = hex("cafebabefacedbaddecaf888").try_into().unwrap();
        let about = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let mut body =
            hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
             b16aedf5aa0de657ba637b39");
        assert_eq!(gcm.seal(&nonce, &about, &mut body).to_vec(), hex("2519498e80f1478f37ba55bd6d27618c"));
        let sealed =
            hex("3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f47\
             18e2448b2fe324d9ccda2710");
        assert_eq!(body, sealed);
        assert!(Gcm::<Aes192>::new(&[0; 32]).is_none());
    }

    fn by_ring(algorithm: &'static Algorithm, key: &[u8], nonce: [u8; 12], about: &[u8], body: &[u8]) -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
        let mut out = body.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), &mut out).unwrap();
        out
    }

    proptest! {
        /// The same code on keys that ring knows does what ring does.
        #[test]
        fn other_key_lengths_agree_with_ring(
            key: [u8; 32], nonce: [u8; 12], about: Vec<u8>, body: Vec<u8>, flipped: usize,
        ) {
            let long: Gcm<Aes256> = Gcm::new(&key).unwrap();
            let short: Gcm<Aes128> = Gcm::new(&key[..16]).unwrap();
            let mut sealed = body.clone();
            let tag = long.seal(&nonce, &about, &mut sealed);
            sealed.extend(tag);
            prop_assert_eq!(&sealed, &by_ring(&AES_256_GCM, &key, nonce, &about, &body));
            prop_assert_eq!(long.open(&nonce, &about, &sealed), Some(body.clone()));
            let others = by_ring(&AES_128_GCM, &key[..16], nonce, &about, &body);
            prop_assert_eq!(short.open(&nonce, &about, &others), Some(body));
            let at = flipped % sealed.len();
            sealed[at] ^= 1;
            prop_assert_eq!(long.open(&nonce, &about, &sealed), None);
        }
    }
}
