#include <cstdio>

#include <emca/segmenter.hpp>

int main(int, char** words) {
    emca::Segmenter segmenter(words[1]);
    cv::Mat const image(30, 40, CV_8UC3, cv::Scalar(90, 120, 200));
    cv::Mat const labels = segmenter.labels(image, emca::Channels::bgr);
    std::printf("%d %d\n", labels.rows, labels.cols);
    try {
        emca::Segmenter none("none.xml");
    } catch (emca::Error const&) {  // its type is the same on both sides of the library
        return labels.rows == 30 && labels.cols == 40 ? 0 : 1;
    }
    return 1;
}
