// Messages of the programs. tests/runtime/test_video_live.py has the same addresses.
#include "check.hpp"
#include "program.hpp"
#include "source.hpp"

namespace {

void check(char const* source, char const* shown) { CHECK(without_password(source) == shown); }

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
    CHECK(run_program([] {}) == 0);
    CHECK(run_program([] { throw emca::Error("of the user"); }) == 2);
    CHECK(run_program([] { throw std::bad_alloc(); }) == 1);
    return 0;
}
