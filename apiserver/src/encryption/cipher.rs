//! The providers' ciphers, byte for byte as Kubernetes uses them, so that its documents and its keys go on to count:
//! `aesgcm` is a nonce of 12 bytes, ciphertext and tag; `aescbc` an initialization vector and PKCS#7 padded blocks;
//! `secretbox` a nonce of 24 bytes and NaCl's box. Only aescbc leaves it unnoticed that a body was moved to another key.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _, block_padding::Pkcs7};
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305, aead::Aead as _};
use kontiki_raft::SealFault;
use ring::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

use super::gcm::{self, Gcm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    AesCbc,
    AesGcm,
    Secretbox,
}

/// A key with its name, which every body that it seals begins with.
pub struct SealingKey {
    prefix: Vec<u8>,
    cipher: Cipher,
}

enum Cipher {
    Cbc(Vec<u8>),
    Gcm(Box<LessSafeKey>),
    /// Of 192 bits, which ring has not.
    Gcm192(Box<Gcm>),
    Secretbox(Box<XSalsa20Poly1305>),
}

const CBC_IV_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Scheme::AesCbc => "aescbc",
            Scheme::AesGcm => "aesgcm",
            Scheme::Secretbox => "secretbox",
        }
    }

    /// Lengths of a key, in bytes.
    pub fn key_bytes(self) -> &'static [usize] {
        match self {
            Scheme::AesCbc | Scheme::AesGcm => &[16, 24, 32],
            Scheme::Secretbox => &[32],
        }
    }
}

impl SealingKey {
    /// `None` if the key is not as long as the scheme wants it.
    pub fn new(scheme: Scheme, name: &str, key: &[u8]) -> Option<Self> {
        let cipher = match (scheme, key.len()) {
            (Scheme::AesCbc, 16 | 24 | 32) => Cipher::Cbc(key.to_vec()),
            (Scheme::AesGcm, 16) => Cipher::gcm(UnboundKey::new(&AES_128_GCM, key).ok()?),
            (Scheme::AesGcm, 24) => Cipher::Gcm192(Box::new(Gcm::new(key)?)),
            (Scheme::AesGcm, 32) => Cipher::gcm(UnboundKey::new(&AES_256_GCM, key).ok()?),
            (Scheme::Secretbox, 32) => Cipher::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(key).ok()?)),
            _ => return None,
        };
        Some(SealingKey { prefix: format!("k8s:enc:{}:v1:{name}:", scheme.name()).into_bytes(), cipher })
    }

    pub fn has_sealed(&self, stored: &[u8]) -> bool {
        stored.starts_with(&self.prefix)
    }

    pub fn seal(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, SealFault> {
        let mut out = Vec::with_capacity(self.prefix.len() + body.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&self.prefix);
        match &self.cipher {
            Cipher::Cbc(key) => {
                let iv = random::<CBC_IV_BYTES>()?;
                out.extend_from_slice(&iv);
                out.extend(cbc_encrypt(key, &iv, body).ok_or_else(impossible)?);
            }
            Cipher::Gcm(key) => {
                let nonce = random::<NONCE_LEN>()?;
                out.extend_from_slice(&nonce);
                let begin = out.len();
                out.extend_from_slice(body);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(path.as_bytes()), &mut out[begin..]);
                out.extend_from_slice(tag.map_err(|_| impossible())?.as_ref());
            }
            Cipher::Gcm192(key) => {
                let nonce = random::<{ gcm::NONCE_BYTES }>()?;
                out.extend_from_slice(&nonce);
                let begin = out.len();
                out.extend_from_slice(body);
                let tag = key.seal(&nonce, path.as_bytes(), &mut out[begin..]);
                out.extend_from_slice(&tag);
            }
            Cipher::Secretbox(key) => {
                let nonce = random::<SECRETBOX_NONCE_BYTES>()?;
                out.extend_from_slice(&nonce);
                out.extend(key.encrypt(&nonce.into(), body).map_err(|_| impossible())?);
            }
        }
        Ok(out)
    }

    pub fn open(&self, path: &str, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
        let data = sealed.strip_prefix(&*self.prefix);
        data.and_then(|data| self.opened(path, data)).ok_or_else(|| self.refused())
    }

    fn opened(&self, path: &str, data: &[u8]) -> Option<Vec<u8>> {
        match &self.cipher {
            Cipher::Cbc(key) => {
                let (iv, blocks) = data.split_at_checked(CBC_IV_BYTES)?;
                cbc_decrypt(key, iv, blocks)
            }
            Cipher::Gcm(key) => {
                let (nonce, data) = data.split_at_checked(NONCE_LEN)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut body = data.to_vec();
                let length = key.open_in_place(nonce, Aad::from(path.as_bytes()), &mut body).ok()?.len();
                body.truncate(length);
                Some(body)
            }
            Cipher::Gcm192(key) => {
                let (nonce, data) = data.split_first_chunk()?;
                key.open(nonce, path.as_bytes(), data)
            }
            Cipher::Secretbox(key) => {
                let (nonce, data) = data.split_first_chunk::<SECRETBOX_NONCE_BYTES>()?;
                key.decrypt(nonce.into(), data).ok()
            }
        }
    }

    fn refused(&self) -> SealFault {
        let named = super::sealer(&self.prefix);
        SealFault(format!("{named} does not decrypt it: the key is another one of that name, or the data was changed"))
    }
}

/// Nonce or vector, padding or tag: at most this much is added to a body, besides the prefix.
const OVERHEAD_BYTES: usize = 40;

impl Cipher {
    fn gcm(key: UnboundKey) -> Self {
        Cipher::Gcm(Box::new(LessSafeKey::new(key)))
    }
}

fn cbc_encrypt(key: &[u8], iv: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    Some(match key.len() {
        16 => cbc::Encryptor::<Aes128>::new_from_slices(key, iv).ok()?.encrypt_padded_vec_mut::<Pkcs7>(body),
        24 => cbc::Encryptor::<Aes192>::new_from_slices(key, iv).ok()?.encrypt_padded_vec_mut::<Pkcs7>(body),
        _ => cbc::Encryptor::<Aes256>::new_from_slices(key, iv).ok()?.encrypt_padded_vec_mut::<Pkcs7>(body),
    })
}

fn cbc_decrypt(key: &[u8], iv: &[u8], blocks: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt_padded_vec_mut::<Pkcs7>(blocks),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, iv).ok()?.decrypt_padded_vec_mut::<Pkcs7>(blocks),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt_padded_vec_mut::<Pkcs7>(blocks),
    }
    .ok()
}

fn random<const N: usize>() -> Result<[u8; N], SealFault> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| SealFault("the system has no random numbers".to_owned()))?;
    Ok(bytes)
}

/// Bodies are bounded far below what a cipher takes.
fn impossible() -> SealFault {
    SealFault("the cipher refuses the body".to_owned())
}
