//! Both runs over time, side by side on the same axes.

use std::{fs, ops::Range, path::Path, time::Duration};

use plotters::backend::SVGBackend;
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::{Shift, combinators::IntoLogRange},
    drawing::{DrawingArea, IntoDrawingArea},
    element::{PathElement, Rectangle, Text},
    series::{AreaSeries, LineSeries},
    style::{
        Color, IntoTextStyle, RGBColor, ShapeStyle, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};
use tower::BoxError;

use crate::{
    phase::Phase,
    run::Run,
    stats::{Call, milliseconds, quantile},
};

const SIZE: (u32, u32) = (1280, 720);
/// Points per phase and line.
const BINS: u32 = 20;

const INK: RGBColor = RGBColor(40, 40, 48);
const FAINT: RGBColor = RGBColor(214, 214, 220);
const MEDIAN: RGBColor = RGBColor(24, 84, 160);
const TAIL: RGBColor = RGBColor(214, 96, 20);
const SUCCESS: RGBColor = RGBColor(40, 140, 80);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the plot as an SVG file.
pub(crate) fn write(
    path: &Path,
    phase: Duration,
    without: &Run,
    with: &Run,
) -> Result<(), BoxError> {
    fs::write(path, svg(phase, without, with)?)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn svg(phase: Duration, without: &Run, with: &Run) -> Result<String, BoxError> {
    let mut svg = String::new();
    let runs = [
        (without, Lines::new(&without.calls, phase)),
        (with, Lines::new(&with.calls, phase)),
    ];
    let latencies = latency_axis(&runs);
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, (run, lines)) in root.split_evenly((1, 2)).iter().zip(&runs) {
            let title = format!("{} the stack", run.stack.title());
            let (upper, lower) = area.titled(&title, text(24))?.split_vertically(430);
            latency(&upper, phase, latencies.clone(), lines)?;
            success(&lower, phase, lines)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// What is drawn of a run: points of (seconds since the start, value), one for each bin.
struct Lines {
    median_ms: Vec<(f64, f64)>,
    tail_ms: Vec<(f64, f64)>,
    success_percent: Vec<(f64, f64)>,
}

impl Lines {
    /// Calls are binned by when they were due, as everywhere.
    fn new(calls: &[Call], phase: Duration) -> Self {
        let mut lines = Self {
            median_ms: vec![],
            tail_ms: vec![],
            success_percent: vec![],
        };
        let width = phase / BINS;
        let bin_of = |call: &Call| call.offset.div_duration_f64(width) as u32;
        for bin in calls.chunk_by(|a, b| bin_of(a) == bin_of(b)) {
            let middle = (f64::from(bin_of(&bin[0])) + 0.5) * width.as_secs_f64();
            let mut latencies: Vec<_> = bin.iter().map(|call| call.latency).collect();
            latencies.sort_unstable();
            let ok = bin.iter().filter(|call| call.ok).count();
            lines
                .median_ms
                .push((middle, milliseconds(quantile(&latencies, 0.50))));
            lines
                .tail_ms
                .push((middle, milliseconds(quantile(&latencies, 0.99))));
            lines
                .success_percent
                .push((middle, 100.0 * ok as f64 / bin.len() as f64));
        }
        lines
    }
}

/// Decades that hold every latency of both runs.
fn latency_axis(runs: &[(&Run, Lines)]) -> Range<f64> {
    let all = || {
        runs.iter()
            .flat_map(|(_, lines)| lines.median_ms.iter().chain(&lines.tail_ms))
            .map(|point| point.1)
    };
    let least = all().fold(1.0, f64::min).max(1e-3);
    let most = all().fold(100.0, f64::max);
    10_f64.powf(least.log10().floor())..10_f64.powf(most.log10().ceil())
}

/// Latency on a logarithmic axis: a millisecond and ten seconds must both be readable.
fn latency(
    area: &Area<'_>,
    phase: Duration,
    axis: Range<f64>,
    lines: &Lines,
) -> Result<(), BoxError> {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(20)
        .x_label_area_size(24)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds(phase), axis.clone().log_scale())?;
    chart.draw_series(shades(phase, axis.clone()))?;
    chart.draw_series(names(area, phase, axis.end))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_label_formatter(&|seconds| seconds.to_string())
        .bold_line_style(FAINT)
        .light_line_style(FAINT.mix(0.4))
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .y_label_formatter(&|ms| {
            if *ms < 1e3 {
                format!("{ms} ms")
            } else {
                format!("{} s", ms / 1e3)
            }
        })
        .y_desc("latency")
        .draw()?;
    for (points, color, name) in [
        (&lines.tail_ms, TAIL, "p99"),
        (&lines.median_ms, MEDIAN, "median"),
    ] {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font(text(13).into_text_style(area))
        .draw()?;
    Ok(())
}

fn success(area: &Area<'_>, phase: Duration, lines: &Lines) -> Result<(), BoxError> {
    const TOP: f64 = 105.0;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(20)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds(phase), 0.0..TOP)?;
    chart.draw_series(shades(phase, 0.0..TOP))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_label_formatter(&|seconds| seconds.to_string())
        .bold_line_style(FAINT)
        .light_line_style(WHITE.mix(0.0))
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .y_labels(5)
        .y_label_formatter(&|percent| format!("{percent} %"))
        .y_desc("calls that succeed")
        .x_desc("seconds since the start")
        .draw()?;
    chart.draw_series(
        AreaSeries::new(
            lines.success_percent.iter().copied(),
            0.0,
            SUCCESS.mix(0.25),
        )
        .border_style(SUCCESS.stroke_width(2)),
    )?;
    Ok(())
}

fn seconds(phase: Duration) -> f64 {
    Phase::ALL.len() as f64 * phase.as_secs_f64()
}

/// From when to when a phase lasts, in seconds.
fn span(phase: Phase, length: Duration) -> (f64, f64) {
    let begin = phase.index() as f64 * length.as_secs_f64();
    (begin, begin + length.as_secs_f64())
}

fn shades(length: Duration, y: Range<f64>) -> impl Iterator<Item = Rectangle<(f64, f64)>> {
    Phase::ALL.into_iter().map(move |phase| {
        let (begin, end) = span(phase, length);
        Rectangle::new([(begin, y.start), (end, y.end)], shade(phase))
    })
}

fn shade(phase: Phase) -> ShapeStyle {
    match phase {
        Phase::Healthy | Phase::Recovery => WHITE.filled(),
        Phase::Slow => RGBColor(255, 246, 214).filled(),
        Phase::Broken => RGBColor(255, 228, 222).filled(),
        Phase::Refused => RGBColor(236, 228, 244).filled(),
    }
}

fn names<'a>(
    area: &Area<'_>,
    length: Duration,
    y: f64,
) -> impl Iterator<Item = Text<'a, (f64, f64), &'static str>> {
    let style = text(14)
        .into_text_style(area)
        .pos(Pos::new(HPos::Center, VPos::Bottom));
    Phase::ALL.into_iter().map(move |phase| {
        let (begin, end) = span(phase, length);
        Text::new(phase.name(), (f64::midpoint(begin, end), y), style.clone())
    })
}

fn text(size: u32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).color(&INK)
}
