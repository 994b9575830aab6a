// Messages of the programs, and JPEGs. tests/runtime/test_video_live.py has the same addresses.
#include <string>
#include <vector>

#include <opencv2/imgcodecs.hpp>

#include "check.hpp"
#include "jpeg.hpp"
#include "program.hpp"
#include "source.hpp"

namespace {

void check(char const* source, char const* shown) { CHECK(without_password(source) == shown); }

std::string encoded(cv::Mat const& image, std::vector<int> const& options) {
    std::vector<unsigned char> bytes;
    cv::imencode(".jpg", image, bytes, options);
    return {bytes.begin(), bytes.end()};
}

cv::Mat decoded(std::string const& bytes) {
    return cv::imdecode(std::vector<unsigned char>(bytes.begin(), bytes.end()), cv::IMREAD_COLOR);
}

//! What is decoded past OpenCV has OpenCV's pixels; what is left to OpenCV is not touched.
void check_jpegs() {
    cv::Mat image;
    for (cv::Size const size : {cv::Size(64, 48), cv::Size(61, 47), cv::Size(1, 1)}) {
        cv::Mat picture(size, CV_8UC3);
        cv::randu(picture, 0, 256);
        for (std::vector<int> const& options : std::vector<std::vector<int>>{
                 {},
                 {cv::IMWRITE_JPEG_QUALITY, 30},
                 {cv::IMWRITE_JPEG_PROGRESSIVE, 1},
                 {cv::IMWRITE_JPEG_RST_INTERVAL, 1, cv::IMWRITE_JPEG_QUALITY, 100}}) {
            std::string const bytes = encoded(picture, options);
            if (decode_plain_jpeg(bytes, image)) {
                CHECK(cv::norm(image, decoded(bytes), cv::NORM_INF) == 0);
            } else {
                CHECK(!has_fast_jpegs());
            }
            CHECK(!decode_plain_jpeg(bytes.substr(0, bytes.size() / 2), image));
            std::string exif = bytes;
            exif.insert(2, std::string("\xff\xe1\x00\x08" "Exif\0\0", 10));
            CHECK(!decode_plain_jpeg(exif, image));
        }
        cv::Mat grey(size, CV_8UC1, cv::Scalar(7));
        CHECK(!decode_plain_jpeg(encoded(grey, {}), image));
    }
    CHECK(!decode_plain_jpeg("\xff\xd8\xff", image));
}

}  // namespace

int main() {
    check("rtsp://user:secret@host:554/cam", "rtsp://host:554/cam");
    check("rtsp://u:pa/ss@h/x", "rtsp://h/x");
    check("rtsp://u:p@ss@h/x", "rtsp://h/x");
    check("rtsp://user@h/x", "rtsp://h/x");
    check("http://cam/video.cgi?user=admin&pwd=secret", "http://cam/video.cgi?user=admin&pwd=***");
    check("rtsp://h/user=admin&password=secret&x=1", "rtsp://h/user=admin&password=***&x=1");
    check("http://h/?PASS=a&Passwd=b&c=d", "http://h/?PASS=***&Passwd=***&c=d");
    check("http://h/pwd=a/x?bypass=1", "http://h/pwd=***/x?bypass=1");
    // What holds none stays; a host and a port before the slash are no user and password.
    for (char const* const source :
         {"rtsp://h:554/a@b", "http://[::1]:80/x", "udp://:5000", "0", "/dev/video0",
          "a@b/password=c.mp4"}) {
        check(source, source);
    }
    CHECK(one_line("OpenCV: error:\n> no memory\n") == "OpenCV: error: > no memory");
    check_jpegs();
    CHECK(run_program([] {}) == 0);
    CHECK(run_program([] { throw emca::Error("of the user"); }) == 2);
    CHECK(run_program([] { throw std::bad_alloc(); }) == 1);
    return 0;
}
