//! A chart of the report as SVG, for light and dark pages.

use std::fmt::Write as _;

use crate::report::{Report, Row};
use crate::subject::Kind;

// In pixels.
const ROW_HEIGHT: usize = 22;
const HEADER_HEIGHT: usize = 46;
const NAME_WIDTH: usize = 140;
const BAR_WIDTH: usize = 250;
const PANEL_WIDTH: usize = BAR_WIDTH + 70;

const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #0969da }
.baseline { fill: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #4493f8 } .baseline { fill: #7d8590 } }
</style>";

/// The value of a row that a panel shows.
type Value = fn(&Row) -> f64;

/// Draws cold starts and the CPU time of requests. Routes that hash a password are left out: their bars would dwarf all
/// others.
pub(crate) fn draw(report: &Report) -> String {
    let rows = report.rows.iter();
    let rows: Vec<_> = rows.filter(|row| row.kind != Kind::Password).collect();
    let (width, height) = (
        NAME_WIDTH + 2 * PANEL_WIDTH,
        HEADER_HEIGHT + rows.len() * ROW_HEIGHT + 10,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Cold starts and CPU of each route, compared with the baseline\">\n{STYLE}\n"
    );
    let mut line = |text: String| writeln!(svg, "{text}").expect("memory");
    for (index, row) in rows.iter().enumerate() {
        let y = HEADER_HEIGHT + index * ROW_HEIGHT + 13;
        let name = row.name;
        line(format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>",
            NAME_WIDTH - 8
        ));
    }
    let panels: [(&str, Value); 2] = [
        ("Cold start to the first answer, ms", |row| row.cold_ms),
        ("CPU of a warm request, ms", |row| row.cpu_ms),
    ];
    for (panel, (title, value)) in panels.into_iter().enumerate() {
        let x = NAME_WIDTH + panel * PANEL_WIDTH;
        line(format!(
            "<text class=\"title\" x=\"{x}\" y=\"24\">{title}</text>"
        ));
        let most = rows.iter().map(|row| value(row)).fold(0.0, f64::max);
        for (index, row) in rows.iter().enumerate() {
            let class = if row.kind == Kind::Baseline {
                "baseline"
            } else {
                "bar"
            };
            #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
            let bar = value(row) / most * BAR_WIDTH as f64;
            let y = HEADER_HEIGHT + index * ROW_HEIGHT;
            line(format!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{bar:.1}\" height=\"16\" rx=\"2\"/>"
            ));
            #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
            let (label_x, label_y) = (x as f64 + bar + 6.0, y + 13);
            line(format!(
                "<text x=\"{label_x:.1}\" y=\"{label_y}\">{:.2}</text>",
                value(row)
            ));
        }
    }
    svg + "</svg>\n"
}
