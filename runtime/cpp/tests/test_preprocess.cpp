// fit and restore against what Python's made of the same images.
#include <fstream>

#include "golden_images.hpp"
#include "preprocess.hpp"

using emca::Channels;
using emca::detail::fit;
using emca::detail::fitted;
using emca::detail::restore;
namespace fs = std::filesystem;

namespace {

void check_fitted(fs::path const& table) {
    std::ifstream file(table);
    int lines = 0;
    int h = 0, w = 0, height = 0, width = 0;
    for (cv::Size expected; file >> h >> w >> height >> width >> expected.height >> expected.width;
         ++lines) {
        CHECK(fitted({w, h}, {width, height}) == expected);
    }
    CHECK(lines == 2000);
}

void check_images(fs::path const& golden) {
    int number = 0;
    for (auto const& entry : fs::directory_iterator(golden)) {
        std::string const path = entry.path().string();
        std::string const end = ".fit.png";
        if (path.size() < end.size() || path.compare(path.size() - end.size(), end.size(), end)) {
            continue;
        }
        std::string const stem = path.substr(0, path.size() - end.size());
        cv::Mat const image = test::read(stem.substr(0, stem.rfind('.')) + ".png");
        cv::Mat const expected = test::read(path);
        cv::Mat target(expected.size(), CV_8UC3, cv::Scalar::all(1));
        auto* const memory = target.data;
        fit(image, Channels::bgr, target);
        CHECK(test::equal(target, test::swapped(expected)));
        fit(test::swapped(image), Channels::rgb, target);
        CHECK(test::equal(target, test::swapped(expected)));
        CHECK(target.data == memory);

        cv::Mat restored;
        restore(test::read(stem + ".map.png"), image.size(), restored);
        CHECK(test::equal(restored, test::read(stem + ".restored.png")));
        ++number;
    }
    CHECK(number == 3 * test::kImages);
}

//! A part of a larger image, whose rows do not follow one another in memory.
void check_parts(fs::path const& golden) {
    cv::Mat const image = test::read(golden / "image0.png");
    cv::Mat const part = image(cv::Rect(10, 5, 100, 60));
    cv::Mat one(48, 64, CV_8UC3), other(48, 64, CV_8UC3);
    fit(part, Channels::rgb, one);
    fit(part.clone(), Channels::rgb, other);
    CHECK(!part.isContinuous() && test::equal(one, other));
}

}  // namespace

int main(int, char** words) {
    fs::path const golden = words[1];
    check_fitted(golden / "fitted.txt");
    check_images(golden);
    check_parts(golden);
    return 0;
}
