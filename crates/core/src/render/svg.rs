//! The network as an SVG picture that needs no program to lay it out.
//!
//! Members stand on a circle, region by region, so every link is a chord and any topology stays readable. Hubs are
//! larger, clients smaller and hollow; standby links are dashed. Colours tell regions apart, and so do the labels.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::drawing::{lines, members_of, milliseconds};
use crate::network::RegionIx;
use crate::plan::{Member, Plan};

const SIZE: f64 = 900.0;
const RADIUS: f64 = 290.0;
const COLOURS: [&str; 8] = ["#0b6e99", "#b3541e", "#3d7a3f", "#8a3d86", "#8f6b00", "#b02a37", "#4a55a2", "#5b5b5b"];
/// Links beyond which labels would cover the picture.
const LABELS_MAX: usize = 60;

/// A member's place in the picture.
struct Spot {
    member: Member,
    x: f64,
    y: f64,
    angle: f64,
    colour: &'static str,
}

/// Draws a plan.
pub fn svg(plan: &Plan) -> String {
    let spots = spots(plan);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIZE} {SIZE}\" font-family=\"sans-serif\">\n\
         <title>{0}</title>\n<rect width=\"{SIZE}\" height=\"{SIZE}\" fill=\"#ffffff\"/>\n\
         <text x=\"24\" y=\"40\" font-size=\"22\" font-weight=\"bold\" fill=\"#222\">{0}</text>\n",
        plan.network.name
    );
    draw_lines(plan, &spots, &mut out);
    for spot in &spots {
        draw_spot(plan, spot, &mut out);
    }
    draw_legend(plan, &mut out);
    out.push_str("</svg>\n");
    out
}

fn spots(plan: &Plan) -> Vec<Spot> {
    let regions = (0..plan.network.regions.len() as u32).map(|at| Some(RegionIx(at))).chain([None]);
    let mut order: Vec<(Member, &'static str)> = Vec::new();
    for region in regions {
        let colour = region.map_or(COLOURS[7], |region| COLOURS[region.at() % 7]);
        order.extend(members_of(plan, region).into_iter().map(|member| (member, colour)));
    }
    let count = order.len().max(1) as f64;
    let spot = |(at, (member, colour)): (usize, (Member, &'static str))| {
        let angle = TAU * at as f64 / count - TAU / 4.0;
        let (x, y) = (SIZE / 2.0 + RADIUS * angle.cos(), SIZE / 2.0 + RADIUS * angle.sin());
        Spot { member, x, y, angle, colour }
    };
    order.into_iter().enumerate().map(spot).collect()
}

fn draw_lines(plan: &Plan, spots: &[Spot], out: &mut String) {
    let mut at: std::collections::BTreeMap<Member, &Spot> = std::collections::BTreeMap::new();
    spots.iter().for_each(|spot| {
        at.insert(spot.member, spot);
    });
    let lines = lines(plan);
    for line in &lines {
        let (Some(a), Some(b)) = (at.get(&line.a), at.get(&line.b)) else { continue };
        let dash = if line.carries { "" } else { " stroke-dasharray=\"5 5\"" };
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#9aa5ad\" stroke-width=\"1.5\"{dash}/>",
            a.x, a.y, b.x, b.y
        );
    }
    for line in lines.iter().filter(|_| lines.len() <= LABELS_MAX) {
        let (Some(a), Some(b)) = (at.get(&line.a), at.get(&line.b)) else { continue };
        // Nearer to the end that fewer lines share, where labels collide less: the first is often the spoke.
        let (x, y) = (a.x * 0.62 + b.x * 0.38, a.y * 0.62 + b.y * 0.38);
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#55606a\" \
             stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
            milliseconds(line.rtt_us)
        );
    }
}

fn draw_spot(plan: &Plan, spot: &Spot, out: &mut String) {
    let (radius, fill) = match spot.member {
        Member::Node(ix) if plan.network.node(ix).hub => (13.0, spot.colour),
        Member::Node(_) => (8.0, spot.colour),
        Member::Client(_) => (6.0, "#ffffff"),
    };
    let (x, y, colour) = (spot.x, spot.y, spot.colour);
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
    );
    let (lx, ly) = (x + 26.0 * spot.angle.cos(), y + 26.0 * spot.angle.sin());
    let anchor = if spot.angle.cos() > 0.2 {
        "start"
    } else if spot.angle.cos() < -0.2 {
        "end"
    } else {
        "middle"
    };
    let address = plan.overlay_addresses(spot.member).first().map_or(String::new(), ToString::to_string);
    let _ = writeln!(
        out,
        "<text x=\"{lx:.1}\" y=\"{ly:.1}\" text-anchor=\"{anchor}\" font-size=\"14\" fill=\"#222\">{}\
         <tspan x=\"{lx:.1}\" dy=\"14\" font-size=\"11\" fill=\"#55606a\">{address}</tspan></text>",
        plan.name(spot.member)
    );
}

fn draw_legend(plan: &Plan, out: &mut String) {
    for (at, region) in plan.network.regions.iter().enumerate().take(24) {
        let y = 66.0 + 18.0 * at as f64;
        let _ = writeln!(
            out,
            "<rect x=\"24\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{}\"/>\
             <text x=\"40\" y=\"{y:.1}\" font-size=\"12\" fill=\"#222\">{}</text>",
            y - 9.0,
            COLOURS[at % 7],
            region.name
        );
    }
}
