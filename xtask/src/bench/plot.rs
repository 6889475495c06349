//! Panels of grouped bars, as an SVG that stands alone. Pure.

use std::fmt::Write;

pub struct Panel {
    pub title: String,
    /// A line across, with its name: what no bar can be below.
    pub limit: Option<(String, f64)>,
    pub groups: Vec<Group>,
}

pub struct Group {
    pub label: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub series: &'static str,
    /// `None` where it could not be measured.
    pub value: Option<f64>,
}

const COLOURS: [&str; 3] = ["#8f99a8", "#0b7a75", "#7cc6c1"];
const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 460.0;
const PANEL_HEIGHT: f64 = 250.0;
const MARGIN: f64 = 24.0;
const LEGEND_HEIGHT: f64 = 40.0;
/// Of a panel, above and below its bars.
const TITLE_HEIGHT: f64 = 44.0;
const LABEL_HEIGHT: f64 = 26.0;

/// Every panel has its own scale, which begins at zero.
pub fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let width = MARGIN + COLUMNS as f64 * (PANEL_WIDTH + MARGIN);
    let height = LEGEND_HEIGHT + rows as f64 * (PANEL_HEIGHT + MARGIN) + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut out, panels);
    for (number, panel) in panels.iter().enumerate() {
        let x = MARGIN + (number % COLUMNS) as f64 * (PANEL_WIDTH + MARGIN);
        let y = LEGEND_HEIGHT + MARGIN / 2.0 + (number / COLUMNS) as f64 * (PANEL_HEIGHT + MARGIN);
        put(&mut out, format_args!("<g transform=\"translate({x} {y})\">"));
        draw(&mut out, panel);
        put(&mut out, format_args!("</g>"));
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, panels: &[Panel]) {
    let bars = panels.first().and_then(|panel| panel.groups.first()).map(|group| &group.bars[..]).unwrap_or_default();
    for (number, bar) in bars.iter().enumerate() {
        let (x, colour) = (MARGIN + 150.0 * number as f64, COLOURS[number % COLOURS.len()]);
        put(out, format_args!("<rect x=\"{x}\" y=\"16\" width=\"14\" height=\"14\" fill=\"{colour}\"/>"));
        text(out, x + 20.0, 28.0, "start", bar.series);
    }
}

fn draw(out: &mut String, panel: &Panel) {
    put(out, format_args!("<g font-weight=\"bold\">"));
    let limit = panel.limit.as_ref().map(|(name, value)| format!(" (dashed: {name}, {})", short(*value)));
    text(out, 0.0, 14.0, "start", &format!("{}{}", panel.title, limit.unwrap_or_default()));
    put(out, format_args!("</g>"));
    let floor = PANEL_HEIGHT - LABEL_HEIGHT;
    let values = panel.groups.iter().flat_map(|group| &group.bars).filter_map(|bar| bar.value);
    let largest = values.chain(panel.limit.iter().map(|limit| limit.1)).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (floor - TITLE_HEIGHT) / largest;
    put(out, format_args!("<path d=\"M0 {floor}H{PANEL_WIDTH}\" stroke=\"#444\"/>"));
    let group_width = PANEL_WIDTH / panel.groups.len().max(1) as f64;
    for (number, group) in panel.groups.iter().enumerate() {
        let left = group_width * number as f64;
        text(out, left + group_width / 2.0, floor + 18.0, "middle", &group.label);
        let bar_width = (group_width * 0.84 / group.bars.len().max(1) as f64).min(90.0);
        let first = left + (group_width - bar_width * group.bars.len() as f64) / 2.0;
        for (place, bar) in group.bars.iter().enumerate() {
            let x = first + bar_width * place as f64;
            let middle = x + bar_width / 2.0;
            let Some(value) = bar.value else {
                text(out, middle, floor - 4.0, "middle", "?");
                continue;
            };
            let (height, colour) = (value * scale, COLOURS[place % COLOURS.len()]);
            put(
                out,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                    floor - height,
                    bar_width - 3.0
                ),
            );
            text(out, middle, floor - height - 5.0, "middle", &short(value));
        }
    }
    if let Some((_, value)) = &panel.limit {
        let y = floor - value * scale;
        put(out, format_args!("<path d=\"M0 {y:.1}H{PANEL_WIDTH}\" stroke=\"#c0392b\" stroke-dasharray=\"5 4\"/>"));
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 10_000.0 => format!("{:.1}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    put(out, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"));
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_share_a_scale_and_a_missing_one_is_marked() {
        let bar = |series, value| Bar { series, value };
        let group =
            Group { label: "1 client".into(), bars: vec![bar("a", Some(1.0)), bar("b", Some(2.0)), bar("c", None)] };
        let drawn = svg(&[Panel { title: "x < y".into(), limit: Some(("limit".into(), 0.5)), groups: vec![group] }]);
        let tallest = PANEL_HEIGHT - LABEL_HEIGHT - TITLE_HEIGHT;
        assert!(drawn.contains(&format!("height=\"{tallest:.1}\"")), "{drawn}");
        assert!(drawn.contains(&format!("height=\"{:.1}\"", tallest / 2.0)), "{drawn}");
        assert!(drawn.contains(">?</text>") && drawn.contains("x &lt; y"), "{drawn}");
        assert_eq!(drawn.matches("<g").count(), drawn.matches("</g>").count());
    }
}
