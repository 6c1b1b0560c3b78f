//! Charts as inline SVG: a level that is carried from step to step, and bars above and below zero.

use std::fmt::Write as _;

use super::text;

/// More steps than this are put together: a screen has no more columns.
const MOST: usize = 120;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// The widest bar.
const BAR: f64 = 34.0;
/// Room that a label under the axis wants.
const LABEL: f64 = 66.0;

/// One step of a chart.
#[derive(Clone, Debug)]
pub struct Step {
    /// Under the axis; foreign.
    pub label: String,
    /// What is shown when the pointer rests on it; foreign.
    pub about: String,
    /// None: not known.
    pub value: Option<f64>,
}

/// What a chart is of.
pub struct Chart<'a> {
    /// For those who hear the page.
    pub about: &'a str,
    pub steps: Vec<Step>,
    pub width: f64,
    pub height: f64,
    /// How a value of the axis is written, given the greatest of them.
    pub shown: fn(f64, f64) -> String,
    /// Bytes are counted in powers of 1,024.
    pub bytes: bool,
}

impl Chart<'_> {
    /// A level: each step keeps it until the next.
    pub fn level(self) -> String {
        let steps = together(self.steps.clone(), |_, next| next);
        self.drawn(&steps, |plot, steps| {
            let mut line = String::new();
            let mut last = None;
            for (index, value) in steps.iter().enumerate().filter_map(|(index, step)| Some((index, step.value?))) {
                let (from, to, y) = (plot.x(index), plot.x(index + 1), plot.y(value));
                let begin = if last.is_some() { "L" } else { "M" };
                let _ = write!(line, "{begin}{from:.1} {y:.1}L{to:.1} {y:.1}");
                last = Some(to);
            }
            let first = steps.iter().position(|step| step.value.is_some()).map_or(0.0, |index| plot.x(index));
            let zero = plot.y(0.0);
            match last {
                Some(end) => format!(
                    "<path class=\"area\" d=\"{line}L{end:.1} {zero:.1}L{first:.1} {zero:.1}Z\"/><path class=\"line\" d=\"{line}\"/>"
                ),
                None => String::new(),
            }
        })
    }

    /// A bar a step, up or down from zero.
    pub fn bars(self) -> String {
        let steps = together(self.steps.clone(), |sum, next| match (sum, next) {
            (Some(sum), Some(next)) => Some(sum + next),
            (sum, next) => sum.or(next),
        });
        self.drawn(&steps, |plot, steps| {
            let wide = (plot.band * 0.72).clamp(1.0, BAR);
            let mut bars = String::new();
            for (index, value) in steps.iter().enumerate().filter_map(|(index, step)| Some((index, step.value?))) {
                let (zero, end) = (plot.y(0.0), plot.y(value));
                let x = plot.x(index) + (plot.band - wide) / 2.0;
                let (top, high) = (zero.min(end), (zero - end).abs().max(if value == 0.0 { 0.0 } else { 1.0 }));
                let class = if value < 0.0 { "less" } else { "more" };
                let _ = write!(
                    bars,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" rx=\"1.5\"/>"
                );
            }
            bars
        })
    }

    fn drawn(&self, steps: &[Step], marks: impl Fn(&Plot, &[Step]) -> String) -> String {
        let values = || steps.iter().filter_map(|step| step.value);
        let (low, high) = values().fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let most = high.max(-low);
        let scale = if self.bytes { 1_024_f64.powf(most.max(1.0).log(1_024.0).floor()) } else { 1.0 };
        let ticks: Vec<f64> = ticks(low / scale, high / scale).into_iter().map(|tick| tick * scale).collect();
        let top = ticks.last().copied().unwrap_or(1.0);
        let bounds = (ticks.first().copied().unwrap_or(0.0).min(low), ticks.last().copied().unwrap_or(1.0).max(high));
        let plot = Plot {
            band: (self.width - LEFT - RIGHT) / steps.len().max(1) as f64,
            height: self.height - TOP - BOTTOM,
            low: bounds.0,
            span: bounds.1 - bounds.0,
        };
        let (width, height) = (self.width, self.height);
        let mut svg =
            format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">", text(self.about));
        for tick in &ticks {
            let (y, right) = (plot.y(*tick), width - RIGHT);
            let class = if *tick == 0.0 { "zero" } else { "grid" };
            let _ = write!(
                svg,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                text(&(self.shown)(*tick, top))
            );
        }
        svg.push_str(&marks(&plot, steps));
        // As many labels as there is room for, the newest among them.
        let every = (LABEL / plot.band).ceil().max(1.0) as usize;
        for (index, step) in steps.iter().enumerate() {
            let x = plot.x(index);
            let _ = write!(
                svg,
                "<rect class=\"hit\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                plot.band,
                plot.height,
                text(&step.about)
            );
            if (steps.len() - 1 - index).is_multiple_of(every) {
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    (x + plot.band / 2.0).min(width - RIGHT - 24.0),
                    height - 6.0,
                    text(&short(&step.label))
                );
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

/// Where values are in the drawing.
struct Plot {
    band: f64,
    height: f64,
    low: f64,
    span: f64,
}

impl Plot {
    fn x(&self, index: usize) -> f64 {
        LEFT + self.band * index as f64
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.span > 0.0 { (value - self.low) / self.span } else { 0.0 };
        TOP + self.height * (1.0 - share)
    }
}

/// Round values from below the lowest to above the highest, about four steps.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = if high > low { high - low } else { 1.0 };
    let rough = span / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|nice| nice * power).find(|step| *step >= rough);
    // Things are counted: half a row is no tick.
    let step = step.unwrap_or(power * 10.0).max(1.0);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil().max(1.0) as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// At most as many steps as a screen can show; neighbours become one.
fn together(steps: Vec<Step>, join: impl Fn(Option<f64>, Option<f64>) -> Option<f64>) -> Vec<Step> {
    let each = steps.len().div_ceil(MOST).max(1);
    if each == 1 {
        return steps;
    }
    let one = |group: &[Step]| {
        let (first, last) = (group.first()?, group.last()?);
        Some(Step {
            label: last.label.clone(),
            about: format!("{} snapshots, from {} to {}", group.len(), first.about, last.about),
            value: group.iter().map(|step| step.value).reduce(&join).flatten(),
        })
    };
    steps.chunks(each).filter_map(one).collect()
}

fn short(label: &str) -> String {
    const MOST: usize = 10;
    if label.chars().count() <= MOST { label.to_owned() } else { label.chars().take(MOST - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64]) -> Chart<'static> {
        let step = |value: &f64| Step { label: "<b>".into(), about: "\"x\" & y".into(), value: Some(*value) };
        Chart {
            about: "rows",
            steps: values.iter().map(step).collect(),
            width: 480.0,
            height: 200.0,
            shown: |value, _| value.to_string(),
            bytes: false,
        }
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(0.0, 9_698.0), [0.0, 2_500.0, 5_000.0, 7_500.0, 10_000.0]);
        assert_eq!(ticks(-449.0, 1_703.0), [-1_000.0, 0.0, 1_000.0, 2_000.0]);
        assert_eq!(ticks(0.0, 1.0), [0.0, 1.0]);
        assert_eq!(ticks(0.0, 0.0), [0.0, 1.0]);
    }

    #[test]
    fn a_thousand_steps_are_as_many_as_a_screen_shows() {
        let values: Vec<f64> = (0..1_000).map(|_| 1.0).collect();
        let drawn = chart(&values).bars();
        assert_eq!(drawn.matches("class=\"more\"").count(), 112);
        assert!(chart(&values).level().matches("class=\"hit\"").count() == 112);
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_text_stays_text() {
        assert!(!chart(&[]).level().contains("<path"));
        let drawn = chart(&[3.0, -2.0, 0.0]).bars();
        assert!(
            drawn.contains("class=\"less\"") && !drawn.contains("<b>") && drawn.contains("&quot;x&quot; &amp; y"),
            "{drawn}"
        );
    }
}
