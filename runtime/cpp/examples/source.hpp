// What names a video: a file, a camera's number or device, or an address.
#pragma once

#include <string>

//! Whether the word is an address, such as rtsp://camera/live.
bool is_address(std::string const& source);

//! The source for messages: an address without user and password, and with *** for a password among
//! its parameters. What could be a part of a password goes, too. As runtime/media/live.py does.
std::string without_password(std::string const& source);
