//! QR codes of configurations, for the cameras of the WireGuard apps: on a terminal, or as a PNG image.
//!
//! Comments are left out and redundancy is little, so that a code fits an 80-column terminal; screens don't get stained.

use anyhow::Context as _;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

/// Pixels of a module's side.
const MODULE_PIXELS: usize = 8;
/// Modules of the empty border (ISO 18004).
const BORDER_MODULES: usize = 4;
/// Bytes that a block of deflate holds as they are (RFC 1951 section 3.2.4).
const STORED_BYTES_MAX: usize = 65_535;

fn code(text: &str) -> anyhow::Result<QrCode> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let bare = Zeroizing::new(lines.flat_map(|line| [line, "\n"]).collect::<String>());
    QrCode::with_error_correction_level(bare.trim_start().as_bytes(), EcLevel::L)
        .with_context(|| format!("{} bytes are too much for a QR code", text.len()))
}

/// A code in characters, two modules each.
pub fn on_terminal(text: &str) -> anyhow::Result<Zeroizing<String>> {
    use qrcode::render::unicode::Dense1x2;
    let code = code(text)?;
    Ok(Zeroizing::new(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()))
}

/// A code as a black and white image (PNG, W3C Recommendation of 2003).
pub fn as_png(text: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let code = code(text)?;
    let (width, colours) =
        (code.width(), Zeroizing::new(code.to_colors().iter().map(|c| c.select(true, false)).collect::<Vec<bool>>()));
    let side = (width + 2 * BORDER_MODULES) * MODULE_PIXELS;
    let is_dark = |x: usize, y: usize| {
        let module = |at: usize| (at / MODULE_PIXELS).checked_sub(BORDER_MODULES).filter(|at| *at < width);
        module(x).zip(module(y)).is_some_and(|(x, y)| colours[y * width + x])
    };
    let mut rows = Zeroizing::new(Vec::with_capacity(side * (side / 8 + 1)));
    for y in 0..side {
        rows.push(0);
        rows.extend(
            (0..side / 8).map(|byte| (0..8).fold(0_u8, |bits, bit| bits << 1 | u8::from(!is_dark(byte * 8 + bit, y)))),
        );
    }
    let mut image = Zeroizing::new(b"\x89PNG\r\n\x1a\n".to_vec());
    let size = (side as u32).to_be_bytes();
    chunk(&mut image, b"IHDR", &[&size[..], &size, &[1, 0, 0, 0, 0]].concat());
    chunk(&mut image, b"IDAT", &Zeroizing::new(stored(&rows)));
    chunk(&mut image, b"IEND", &[]);
    Ok(image)
}

fn chunk(image: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    image.extend((body.len() as u32).to_be_bytes());
    let start = image.len();
    image.extend(kind);
    image.extend(body);
    let crc = image[start..].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    image.extend((!crc).to_be_bytes());
}

/// Bytes in the format of zlib, as they are (RFC 1950, RFC 1951).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = bytes.chunks(STORED_BYTES_MAX);
    let last = blocks.len().saturating_sub(1);
    for (at, block) in blocks.enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(at == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    out.extend((high << 16 | low).to_be_bytes());
    out
}
