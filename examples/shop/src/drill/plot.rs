//! A drill over time: answers per second, and what was broken meanwhile.

use std::fs;
use std::path::Path;

use mainstay::BoxError;
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoTextStyle, RGBColor, TextStyle, WHITE};

use super::load::{Call, Kind};
use super::report::Report;

const SIZE: (u32, u32) = (1200, 760);
/// Of it, for the answers.
const UPPER: i32 = 480;
/// Points of each line.
const BINS: u32 = 80;

const INK: RGBColor = RGBColor(40, 40, 48);
const FAINT: RGBColor = RGBColor(214, 214, 220);
const FAULT: RGBColor = RGBColor(208, 84, 80);

/// The lines, in the order of the legend.
const KINDS: [(Kind, &str, RGBColor); 5] = [
    (Kind::Confirmed, "confirmed (201)", RGBColor(40, 140, 80)),
    (
        Kind::Compensated,
        "compensated (409)",
        RGBColor(24, 84, 160),
    ),
    (
        Kind::Accepted,
        "stored, and goes on (202)",
        RGBColor(240, 180, 40),
    ),
    (
        Kind::Refused,
        "refused, and repeated",
        RGBColor(214, 96, 20),
    ),
    (
        Kind::Unanswered,
        "no answer, and repeated",
        RGBColor(176, 44, 72),
    ),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the plot as an SVG file.
pub(super) fn write(path: &Path, report: &Report) -> Result<(), BoxError> {
    fs::write(path, svg(report)?)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn svg(report: &Report) -> Result<String, BoxError> {
    let mut svg = String::new();
    let marks = report.broken.marks.iter();
    let ends = marks.map(|mark| mark.to);
    let ends = ends.chain(report.calls.iter().map(|call| call.at));
    let end = ends.max().unwrap_or_default().as_secs_f64().max(1.0);
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let title = format!("{} orders, broker: {}", report.orders, report.broker);
        let area = root.titled(&title, text(22))?;
        let (upper, lower) = area.split_vertically(UPPER);
        answers(&upper, end, &report.calls)?;
        faults(&lower, end, report)?;
        root.present()?;
    }
    Ok(svg)
}

/// The answers of one kind per second, with a point for each bin.
fn line(calls: &[Call], kind: Kind, end: f64) -> Vec<(f64, f64)> {
    let width = end / f64::from(BINS);
    let mut counts = vec![0_u32; BINS as usize];
    for call in calls.iter().filter(|call| call.kind == kind) {
        let bin = (call.at.as_secs_f64() / width) as usize;
        if let Some(count) = counts.get_mut(bin.min(BINS as usize - 1)) {
            *count += 1;
        }
    }
    let middles = (0..BINS).map(|bin| (f64::from(bin) + 0.5) * width);
    let rates = counts.iter().map(|count| f64::from(*count) / width);
    middles.zip(rates).collect()
}

fn answers(area: &Area<'_>, end: f64, calls: &[Call]) -> Result<(), BoxError> {
    let lines = KINDS.map(|(kind, name, color)| (line(calls, kind, end), name, color));
    let rates = lines.iter().flat_map(|(line, ..)| line);
    let most = rates.map(|(_, rate)| *rate).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(22)
        .y_label_area_size(150)
        // Some space above for the legend.
        .build_cartesian_2d(0.0..end, 0.0..most * 1.3)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FAINT)
        .light_line_style(WHITE.mix(0.0))
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .x_label_formatter(&|seconds| seconds.to_string())
        .y_label_formatter(&|rate| rate.to_string())
        .y_desc("answers per second")
        .draw()?;
    for (line, name, color) in lines {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line, style))?
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

/// A row for each fault, with a bar while it is there.
fn faults(area: &Area<'_>, end: f64, report: &Report) -> Result<(), BoxError> {
    let marks = &report.broken.marks;
    let mut names: Vec<&str> = marks.iter().map(|mark| &*mark.what).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(40)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..end, 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .y_labels(0)
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .x_label_formatter(&|seconds| seconds.to_string())
        .x_desc("seconds since the start")
        .draw()?;
    let style = text(13).into_text_style(area);
    let style = style.pos(Pos::new(HPos::Right, VPos::Center));
    for (row, name) in names.iter().enumerate() {
        let low = rows - 1.0 - row as f64;
        let of_row = marks.iter().filter(|mark| mark.what == **name);
        // A short one would be narrower than a pixel.
        let least = end / 400.0;
        chart.draw_series(of_row.map(|mark| {
            let (from, to) = (mark.from.as_secs_f64(), mark.to.as_secs_f64());
            let corners = [(from, low + 0.2), (to.max(from + least), low + 0.8)];
            Rectangle::new(corners, FAULT.filled())
        }))?;
        let (x, y) = chart.backend_coord(&(0.0, low + 0.5));
        let (left, top) = area.get_base_pixel();
        let place = (x - left - 10, y - top);
        area.draw(&Text::new((*name).to_owned(), place, style.clone()))?;
    }
    Ok(())
}

fn text(size: u32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).color(&INK)
}
