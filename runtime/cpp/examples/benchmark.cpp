// emca-benchmark MODEL IMAGE [ITERATIONS]: what the way from an image file to its labels costs
// beside the bare model, as JSON. Each part is timed in turn, and overheads are medians of what a
// turn took longer than the bare model in the same turn, so that slow moments cancel out.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "emca/segmenter.hpp"
#include "image.hpp"
#include "program.hpp"
#include "runner.hpp"

namespace {

constexpr int kWarmUp = 10;

template <typename Work>
double milliseconds(Work const& work) {
    auto const start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    std::size_t const half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void benchmark(char const* model, char const* path, int iterations) {
    cv::Mat image = read_image(path);
    emca::Segmenter segmenter(model);
    auto const runner = emca::detail::load(model, {}).runner;
    cv::Mat labels;
    std::vector<double> bare, from_pixels, from_file, pixels_more, file_more;
    for (int i = -kWarmUp; i < iterations; ++i) {
        double const times[] = {
            milliseconds([&] { runner->run(); }),
            milliseconds([&] { segmenter.labels(image, emca::Channels::bgr, labels); }),
            milliseconds([&] {
                read_image(path, image);
                segmenter.labels(image, emca::Channels::bgr, labels);
            }),
        };
        if (i >= 0) {
            bare.push_back(times[0]);
            from_pixels.push_back(times[1]);
            from_file.push_back(times[2]);
            pixels_more.push_back(times[1] - times[0]);
            file_more.push_back(times[2] - times[0]);
        }
    }
    double const base = median(bare);
    std::printf(
        "{\"image\": [%d, %d], \"input_size\": [%d, %d], \"iterations\": %d,\n"
        " \"infer_ms\": %.3f, \"labels_ms\": %.3f, \"end_to_end_ms\": %.3f,\n"
        " \"labels_overhead\": %.4f, \"end_to_end_overhead\": %.4f}\n",
        image.rows, image.cols, segmenter.input_size().height, segmenter.input_size().width,
        iterations, base, median(from_pixels), median(from_file), median(pixels_more) / base,
        median(file_more) / base);
}

}  // namespace

int main(int count, char** words) {
    int const iterations = count == 4 ? std::atoi(words[3]) : 100;
    if (count < 3 || count > 4 || iterations < 1) {
        std::fputs("error: usage: emca-benchmark MODEL IMAGE [ITERATIONS]\n", stderr);
        return 2;
    }
    return run_program([=] { benchmark(words[1], words[2], iterations); });
}
