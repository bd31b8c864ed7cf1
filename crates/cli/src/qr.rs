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
    let mut rows = Zeroizing::new(Vec::with_capacity(side * side / 8));
    for y in 0..side {
        rows.extend(
            (0..side / 8).map(|byte| (0..8).fold(0_u8, |bits, bit| bits << 1 | u8::from(!is_dark(byte * 8 + bit, y)))),
        );
    }
    let mut image = Zeroizing::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut *image, side as u32, side as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.write_header()?.write_image_data(&rows)?;
    Ok(image)
}
