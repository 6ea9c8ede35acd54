import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/**
 * Asks a service again and again whether it is well:
 * {@code java UnclosedResponses.java leaky|healthy URL PAUSE_MS COUNT}.
 *
 * <p>The mistake: only the status is looked at. A body that is handed out as a stream is its taker's
 * to read or to close; until then the connection under it is neither reused nor closed, whatever the
 * server does, and no collection of garbage helps, for the client itself still refers to it.
 */
public class UnclosedResponses {
    public static void main(String[] args) throws Exception {
        boolean leaky = args[0].equals("leaky");
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[1])).build();
        HttpClient client =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        for (int asked = 0; asked < Integer.parseInt(args[3]); asked++) {
            HttpResponse<InputStream> response = client.send(request, BodyHandlers.ofInputStream());
            if (response.statusCode() != 200) {
                System.err.println("unwell: " + response.statusCode());
            }
            if (!leaky) {
                response.body().close();
            }
            Thread.sleep(Long.parseLong(args[2]));
        }
        Thread.currentThread().join();
    }
}
