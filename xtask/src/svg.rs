//! Bar charts and curves as SVG, for the book's pages. Pure: numbers in, text out; nothing is measured or written here.
//!
//! Own code, since two kinds of chart take less of it than a plotting library takes to build. The background is white
//! whatever the book's theme, because an image cannot know the page it stands on. Called by `page`, `profile` and `sim`.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const FONT: f64 = 13.0;
/// About what a character takes at that size.
const CHARACTER: f64 = 6.8;
const INK: &str = "#1f2933";
const FAINT: &str = "#d5dbe1";
/// Colour-blind safe, and apart in grey too.
const COLOURS: [&str; 4] = ["#2b6cb0", "#d97706", "#5f7d2f", "#8b5fbf"];
const GOOD: &str = "#2f855a";
const BAD: &str = "#c05621";

/// How far apart values stand.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// Each decade as wide as the next.
    Log,
}

/// What a bar's colour says.
#[derive(Clone, Copy, PartialEq)]
pub enum Tone {
    /// Ours, or a bar among equals.
    Plain,
    /// What ours is compared with.
    Other,
    /// A goal that holds.
    Good,
    /// A goal that does not hold.
    Bad,
}

/// One bar.
pub struct Bar {
    /// What it is.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// What is written at its end.
    pub shown: String,
    /// Its colour.
    pub tone: Tone,
}

/// A line through all bars, at a value that means something.
pub struct Mark<'a> {
    /// Where.
    pub at: f64,
    /// What it says.
    pub label: &'a str,
}

/// Horizontal bars, one below the other; `axis` names the value and its unit.
pub fn bars(
    title: &str,
    axis: &str,
    scale: Scale,
    bars: &[Bar],
    mark: Option<&Mark<'_>>,
) -> String {
    const ROW: f64 = 26.0;
    const TOP: f64 = 62.0;
    let longest = bars
        .iter()
        .map(|bar| bar.label.chars().count())
        .max()
        .unwrap_or(0);
    let left = (longest as f64 * CHARACTER + 24.0).min(430.0);
    let written = bars
        .iter()
        .map(|bar| bar.shown.chars().count())
        .max()
        .unwrap_or(0);
    let right = WIDTH - written as f64 * CHARACTER - 22.0;
    let height = TOP + ROW * bars.len() as f64 + 58.0;
    let bottom = TOP + ROW * bars.len() as f64;
    let values = bars
        .iter()
        .map(|bar| bar.value)
        .chain(mark.map(|mark| mark.at));
    let range = Range::of(values, scale);
    let x = |value: f64| left + range.place(value) * (right - left);
    let mut out = open(title, WIDTH, height);
    for (value, label) in range.ticks() {
        let at = x(value);
        line(&mut out, (at, TOP - 6.0), (at, bottom), FAINT, "");
        text(&mut out, (at, bottom + 18.0), "middle", &label);
    }
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let wide = (x(bar.value) - left).max(1.0);
        let colour = match bar.tone {
            Tone::Plain => COLOURS[0],
            Tone::Other => "#8a97a6",
            Tone::Good => GOOD,
            Tone::Bad => BAD,
        };
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{colour}\"/>",
            y + 3.0,
            ROW - 8.0
        );
    }
    if let Some(mark) = mark {
        let at = x(mark.at);
        line(
            &mut out,
            (at, TOP - 10.0),
            (at, bottom),
            INK,
            " stroke-dasharray=\"5 3\"",
        );
        text(&mut out, (at, TOP - 15.0), "middle", mark.label);
    }
    // Last, so that no line runs through a word.
    for (index, bar) in bars.iter().enumerate() {
        let base = TOP + ROW * (index as f64 + 0.5) + 4.0;
        text(&mut out, (left - 8.0, base), "end", &bar.label);
        text(
            &mut out,
            (x(bar.value).max(left + 1.0) + 6.0, base),
            "start",
            &bar.shown,
        );
    }
    text(
        &mut out,
        ((left + right) / 2.0, bottom + 40.0),
        "middle",
        axis,
    );
    out.push_str("</svg>\n");
    out
}

/// One set of axes with its curves.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What goes right.
    pub x: String,
    /// What goes up.
    pub y: String,
    /// Curves by name.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

/// Panels side by side, both axes logarithmic.
pub fn curves(title: &str, panels: &[Panel]) -> String {
    const HEIGHT: f64 = 400.0;
    let mut out = open(title, WIDTH, HEIGHT);
    let wide = WIDTH / panels.len().max(1) as f64;
    for (index, panel) in panels.iter().enumerate() {
        let left = wide * index as f64;
        draw(
            &mut out,
            panel,
            (left + 70.0, left + wide - 28.0),
            (78.0, HEIGHT - 92.0),
        );
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, (left, right): (f64, f64), (top, bottom): (f64, f64)) {
    let points = || panel.series.iter().flat_map(|(_, points)| points);
    let across = Range::of(points().map(|point| point.0), Scale::Log);
    let upward = Range::of(points().map(|point| point.1), Scale::Log);
    let x = |value: f64| left + across.place(value) * (right - left);
    let y = |value: f64| bottom - upward.place(value) * (bottom - top);
    text(
        out,
        ((left + right) / 2.0, top - 14.0),
        "middle",
        &panel.title,
    );
    for (value, label) in across.ticks() {
        line(out, (x(value), top), (x(value), bottom), FAINT, "");
        text(out, (x(value), bottom + 18.0), "middle", &label);
    }
    for (value, label) in upward.ticks() {
        line(out, (left, y(value)), (right, y(value)), FAINT, "");
        text(out, (left - 8.0, y(value) + 4.0), "end", &label);
    }
    line(out, (left, bottom), (right, bottom), INK, "");
    line(out, (left, top), (left, bottom), INK, "");
    for (index, (name, points)) in panel.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<String> = points
            .iter()
            .map(|&(at, value)| format!("{:.1},{:.1}", x(at), y(value)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for &(at, value) in points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                x(at),
                y(value)
            );
            // Where curves are close, the value of the upper one stands above it and the other's below.
            let beside = || points_at(panel, at).filter(|other| *other != value);
            let upper = beside().all(|other| value >= other);
            let shift = if upper { -9.0 } else { 19.0 };
            text(out, (x(at), y(value) + shift), "middle", &short(value));
        }
        if panel.series.len() > 1 {
            let at = (left + 8.0 + 130.0 * index as f64, bottom + 66.0);
            line(out, at, (at.0 + 18.0, at.1), colour, " stroke-width=\"3\"");
            text(out, (at.0 + 24.0, at.1 + 4.0), "start", name);
        }
    }
    text(
        out,
        ((left + right) / 2.0, bottom + 42.0),
        "middle",
        &panel.x,
    );
    let middle = (top + bottom) / 2.0;
    let _ = writeln!(
        out,
        "<text transform=\"rotate(-90 {0:.1} {middle:.1})\" x=\"{0:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\">{1}</text>",
        left - 52.0,
        escaped(&panel.y)
    );
}

/// What every curve of the panel says there.
fn points_at(panel: &Panel, x: f64) -> impl Iterator<Item = f64> {
    let points = panel.series.iter().flat_map(|(_, points)| points);
    points
        .filter(move |point| point.0 == x)
        .map(|point| point.1)
}

/// Where values are between the ends of an axis.
struct Range {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>, scale: Scale) -> Range {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in
            values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0))
        {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => Range {
                low: 0.0,
                high: high.max(f64::MIN_POSITIVE),
                scale,
            },
            Scale::Log => {
                // Room on both sides, to where a tick is: no bar is without length, none ends at the edge.
                let low = step_below(low * 0.8);
                let high = step_above(high * 1.05);
                Range { low, high, scale }
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Log => {
                let value = value.max(self.low);
                (value / self.low).ln() / (self.high / self.low).ln()
            }
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = step_above(self.high / 6.0);
                (0..=8)
                    .map(|n| step * f64::from(n))
                    .take_while(|value| *value <= self.high * 1.001)
                    .collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let steps: &[f64] = if decades > 2.5 {
                    &[1.0]
                } else {
                    &[1.0, 2.0, 5.0]
                };
                let first = self.low.log10().floor() as i32;
                (first..first + 14)
                    .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
                    .filter(|value| *value >= self.low * 0.999 && *value <= self.high * 1.001)
                    .collect()
            }
        };
        values
            .into_iter()
            .map(|value| (value, short(value)))
            .collect()
    }
}

/// The largest of 1, 2, 5, 10, … that is not above.
fn step_below(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [5.0, 2.0, 1.0]
        .into_iter()
        .find(|step| step * decade <= value);
    step.unwrap_or(1.0) * decade
}

/// The smallest of 1, 2, 5, 10, … that is not below.
fn step_above(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|step| step * decade >= value);
    step.unwrap_or(10.0) * decade
}

/// A number in little room: 1,000,000 as 1M, the rest with three digits.
fn short(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let digits = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        format!("{text}{unit}")
    };
    match value {
        v if v >= 1e6 => trimmed(v / 1e6, "M"),
        v if v >= 1e3 => trimmed(v / 1e3, "k"),
        v if v >= 0.1 || v == 0.0 => trimmed(v, ""),
        v => format!("{v:.1e}"),
    }
}

fn open(title: &str, width: f64, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\" font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" \
         font-size=\"{FONT:.0}\" fill=\"{INK}\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">{title}</text>\n"
    )
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, more: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"{more}/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" stroke=\"#ffffff\" stroke-width=\"4\" \
         paint-order=\"stroke\" stroke-linejoin=\"round\">{}</text>",
        at.0,
        at.1,
        escaped(words)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_what_they_show() {
        let range = Range::of([3.0, 400.0].into_iter(), Scale::Log);
        assert_eq!((range.low, range.high), (2.0, 500.0));
        assert!(range.place(3.0) > 0.0 && range.place(400.0) < 1.0);
        assert!(range.ticks().iter().any(|(_, label)| label == "100"));
        let range = Range::of([3.0, 40.0].into_iter(), Scale::Linear);
        assert!((range.place(20.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_000_000.0), "1M");
        assert_eq!(short(10_000.0), "10k");
        assert_eq!(short(23.44), "23.4");
        assert_eq!(short(100.0), "100");
        assert_eq!(short(0.5), "0.5");
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let bar = Bar {
            label: "a < b & c".into(),
            value: 1.0,
            shown: "1".into(),
            tone: Tone::Plain,
        };
        let drawn = bars("t", "x", Scale::Linear, &[bar], None);
        assert!(drawn.contains("a &lt; b &amp; c") && drawn.ends_with("</svg>\n"));
    }
}
