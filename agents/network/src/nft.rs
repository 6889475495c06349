//! libnftables: runs a script as one transaction, in the network namespace of the calling thread. The only unsafe code of
//! this crate; knows no rules.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr::NonNull,
};

/// `struct nft_ctx` of `nftables/libnftables.h`.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

#[link(name = "nftables")]
unsafe extern "C" {
    fn nft_ctx_new(flags: u32) -> *mut Context;
    fn nft_ctx_free(context: *mut Context);
    fn nft_ctx_buffer_output(context: *mut Context) -> c_int;
    fn nft_ctx_buffer_error(context: *mut Context) -> c_int;
    fn nft_ctx_get_output_buffer(context: *mut Context) -> *const c_char;
    fn nft_ctx_get_error_buffer(context: *mut Context) -> *const c_char;
    fn nft_run_cmd_from_buffer(context: *mut Context, buffer: *const c_char) -> c_int;
}

/// `NFT_CTX_DEFAULT`.
const FLAGS: u32 = 0;

/// Why a script was refused; nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("nftables: {0}")]
    Refused(String),
    #[error("nftables: not permitted; service addresses need root (CAP_NET_ADMIN)")]
    NotPermitted,
    #[error("nftables: no memory for a context")]
    NoContext,
}

/// Runs the script and gives its output. Blocking, milliseconds; opens and closes its own netlink socket.
pub fn run(script: &str) -> Result<String, NftError> {
    let script = CString::new(script).map_err(|_| NftError::Refused("the script holds a zero byte".into()))?;
    let context = Handle::new()?;
    // SAFETY: the context is valid until `context` is dropped, and the script is a string that outlives the call.
    let status = unsafe { nft_run_cmd_from_buffer(context.0.as_ptr(), script.as_ptr()) };
    if status == 0 {
        // SAFETY: output is buffered (see `new`); the buffer is a string that lives until the next command or the end.
        return Ok(unsafe { text(nft_ctx_get_output_buffer(context.0.as_ptr())) });
    }
    // SAFETY: as above, for errors.
    let error = unsafe { text(nft_ctx_get_error_buffer(context.0.as_ptr())) };
    if error.contains("Operation not permitted") && !nix::unistd::geteuid().is_root() {
        return Err(NftError::NotPermitted);
    }
    Err(NftError::Refused(error.trim().to_owned()))
}

/// Owns a context, which is not shared: libnftables is not thread-safe on one.
struct Handle(NonNull<Context>);

impl Handle {
    fn new() -> Result<Self, NftError> {
        // SAFETY: no precondition; null means that memory or a socket was not to be had.
        let context = NonNull::new(unsafe { nft_ctx_new(FLAGS) }).ok_or(NftError::NoContext)?;
        let handle = Self(context);
        // SAFETY: the context was just made. Not 0 means no memory for the buffers.
        let buffered = unsafe { nft_ctx_buffer_output(context.as_ptr()) | nft_ctx_buffer_error(context.as_ptr()) };
        if buffered == 0 { Ok(handle) } else { Err(NftError::NoContext) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `nft_ctx_new`, freed once, not used afterwards.
        unsafe { nft_ctx_free(self.0.as_ptr()) }
    }
}

/// # Safety
/// `buffer` is null or a string that is not changed during the call.
unsafe fn text(buffer: *const c_char) -> String {
    if buffer.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(buffer) }.to_string_lossy().into_owned()
}
