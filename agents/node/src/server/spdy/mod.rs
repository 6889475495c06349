//! SPDY/3.1 frames, as far as Kubernetes' clients use them: streams that the client opens, data both ways, pings. There is
//! no flow control: those clients have none. Knows nothing of what the streams carry.

mod frame;
mod headers;

pub use frame::{Codec, Frame};
pub use headers::Headers;
