//! A picture of the table for the README, in the colours of a light or a dark page.

use std::fmt::Write as _;

use crate::report::{Kind, Report, Row};

const ROW: usize = 22;
const TOP: usize = 46;
const NAMES: usize = 130;
const BARS: usize = 250;
const PANEL: usize = BARS + 70;

const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #0969da }
.floor { fill: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #4493f8 } .floor { fill: #7d8590 } }
</style>";

/// What a panel shows of a row.
type Value = fn(&Row) -> f64;

/// Draws what a start and a request take, but for what hashes a password, which would dwarf all else.
pub(crate) fn draw(report: &Report) -> String {
    let rows = report.routes.iter();
    let rows: Vec<_> = rows.filter(|row| row.kind != Kind::Password).collect();
    let (width, height) = (NAMES + 2 * PANEL, TOP + rows.len() * ROW + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Cold starts and CPU of each route, beside the floor\">\n{STYLE}\n"
    );
    let mut line = |text: String| writeln!(svg, "{text}").expect("memory");
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + index * ROW + 13;
        let name = row.name;
        line(format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>",
            NAMES - 8
        ));
    }
    let panels: [(&str, Value); 2] = [
        ("Cold start to the first answer, ms", |row| row.cold_ms),
        ("CPU of a warm request, ms", |row| row.cpu_ms),
    ];
    for (panel, (title, value)) in panels.into_iter().enumerate() {
        let x = NAMES + panel * PANEL;
        line(format!(
            "<text class=\"title\" x=\"{x}\" y=\"24\">{title}</text>"
        ));
        let most = rows.iter().map(|row| value(row)).fold(0.0, f64::max);
        for (index, row) in rows.iter().enumerate() {
            let class = if row.kind == Kind::Floor {
                "floor"
            } else {
                "bar"
            };
            #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
            let bar = value(row) / most * BARS as f64;
            let y = TOP + index * ROW;
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
